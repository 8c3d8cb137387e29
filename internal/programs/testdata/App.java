import java.sql.*;
import java.util.*;

/** JDBC: server-side prepares from the first use on, batches, cursors, savepoints, cancel, LISTEN. */
public class App {
    static Connection connect(String options) throws SQLException {
        Map<String, String> env = System.getenv();
        return DriverManager.getConnection(String.format("jdbc:postgresql://%s:%s/%s?user=%s&sslmode=disable&prepareThreshold=1%s",
            env.get("PGHOST"), env.get("PGPORT"), env.get("PGDATABASE"), env.get("PGUSER"), options));
    }

    static void check(boolean ok, String what) {
        if (!ok) throw new AssertionError(what);
    }

    static void work() throws SQLException {
        List<Connection> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) all.add(connect(i % 2 == 0 ? "" : "&preferQueryMode=extendedCacheEverything"));
        Connection c = all.get(0);
        try (Statement s = c.createStatement()) {
            s.execute("create table jdbc_t (id int primary key, v text)");
        }
        c.setAutoCommit(false);
        try (PreparedStatement p = c.prepareStatement("insert into jdbc_t values (?, ?)")) {
            for (int i = 0; i < 200; i++) {
                p.setInt(1, i);
                p.setString(2, "v" + i);
                p.addBatch();
            }
            check(p.executeBatch().length == 200, "batch");
        }
        c.commit();
        for (int round = 0; round < 10; round++)
            for (Connection other : all)
                try (PreparedStatement p = other.prepareStatement("select v from jdbc_t where id = ?")) {
                    p.setInt(1, round);
                    ResultSet r = p.executeQuery();
                    check(r.next() && r.getString(1).equals("v" + round), "prepared");
                }
        try (Statement s = c.createStatement()) {
            s.setFetchSize(7);
            ResultSet r = s.executeQuery("select id from jdbc_t order by id");
            int n = 0;
            while (r.next()) check(r.getInt(1) == n++, "cursor");
            check(n == 200, "rows of the cursor");
            Savepoint before = c.setSavepoint("before");
            try {
                s.execute("insert into jdbc_t values (1, 'twice')");
                check(false, "no error");
            } catch (SQLException e) {
                check(e.getSQLState().equals("23505"), e.getMessage());
                c.rollback(before);
            }
            s.execute("update jdbc_t set v = 'new' where id = 1");
        }
        c.commit();
        check(c.getMetaData().getColumns(null, null, "jdbc_t", null).next(), "metadata");
        c.commit();
        Connection other = all.get(1);
        other.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        other.setReadOnly(true);
        try (Statement s = other.createStatement()) {
            ResultSet r = s.executeQuery("show transaction_isolation");
            check(r.next() && r.getString(1).equals("serializable"), "isolation");
        }
        check(other.isValid(5), "valid");
        c.setAutoCommit(true);
        try (Statement s = c.createStatement()) {
            s.execute("drop table jdbc_t");
        }
        for (Connection each : all) each.close();
    }

    static void listen() throws Exception {
        try (Connection a = connect(""); Connection b = connect(""); Statement listen = a.createStatement(); Statement sleep = b.createStatement()) {
            listen.execute("listen jdbc");
            sleep.execute("notify jdbc, 'hello'");
            org.postgresql.PGNotification[] heard = a.unwrap(org.postgresql.PGConnection.class).getNotifications(30000);
            check(heard != null && heard.length == 1 && heard[0].getParameter().equals("hello"), "notification");
            listen.execute("unlisten *");
            Thread canceling = new Thread(() -> {
                try {
                    Thread.sleep(1000);
                    sleep.cancel();
                } catch (Exception e) {
                    e.printStackTrace();
                }
            });
            canceling.start();
            try {
                sleep.execute("select pg_sleep(600)");
                check(false, "not canceled");
            } catch (SQLException e) {
                check(e.getSQLState().equals("57014"), e.getMessage());
            }
            canceling.join();
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("work")) work();
        else listen();
    }
}
