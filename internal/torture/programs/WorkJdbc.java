import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.*;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.core.BaseConnection;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** Works through JDBC, as ../language.go says: its transactions, statements prepared on the server and not, batches, COPY. */
public class WorkJdbc {
    static final Map<String, Integer> LEVELS = Map.of("read committed", Connection.TRANSACTION_READ_COMMITTED,
        "repeatable read", Connection.TRANSACTION_REPEATABLE_READ, "serializable", Connection.TRANSACTION_SERIALIZABLE);
    static final Pattern PARAMETER = Pattern.compile("\\$(\\d+)");

    /** A request: a form. */
    static class Form {
        final Map<String, List<String>> values = new HashMap<>();

        Form(String line) {
            for (String pair : line.split("&")) {
                String[] kv = pair.split("=", 2);
                values.computeIfAbsent(kv[0], k -> new ArrayList<>()).add(URLDecoder.decode(kv[1], StandardCharsets.UTF_8));
            }
        }

        String get(String key) { return values.containsKey(key) ? values.get(key).get(0) : ""; }

        List<String> rows() { return values.getOrDefault("row", List.of()); }
    }

    final BlockingQueue<Form> requests = new LinkedBlockingQueue<>();
    Connection conn;

    void run(String name) {
        try {
            for (String what = ""; !what.equals("close"); ) {
                Form r = requests.take();
                what = r.get("do");
                StringBuilder answer = new StringBuilder("session=" + name);
                try {
                    for (String row : work(what, r)) add(answer, "row", row);
                } catch (Exception e) {
                    add(answer, "error", told(e));
                }
                add(answer, "status", status());
                synchronized (System.out) {
                    System.out.println(answer);
                    System.out.flush();
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    String status() {
        try {
            return conn == null ? "unknown" : conn.unwrap(BaseConnection.class).getTransactionState().name().toLowerCase(Locale.ROOT);
        } catch (SQLException e) {
            return "unknown";
        }
    }

    static void add(StringBuilder to, String key, String value) {
        to.append('&').append(key).append('=').append(URLEncoder.encode(value, StandardCharsets.UTF_8));
    }

    /** What an exception says. It has a code only if that is the server's: the driver gives codes of its own, too. */
    static String told(Exception e) {
        for (Throwable t = e; t != null; t = t instanceof SQLException s && s.getNextException() != null ? s.getNextException() : t.getCause()) {
            ServerErrorMessage m = t instanceof PSQLException p ? p.getServerErrorMessage() : null;
            if (m != null) return m.getSQLState() + " " + m.getMessage() + "; " + Objects.toString(m.getDetail(), "");
        }
        return "- " + e;
    }

    List<String> work(String what, Form r) throws SQLException, IOException {
        switch (what) {
            case "open" -> conn = DriverManager.getConnection(String.format("jdbc:postgresql://%s:%s/%s?user=%s&sslmode=disable",
                r.get("host"), r.get("port"), r.get("db"), r.get("user")));
            case "close" -> conn.close();
            case "begin" -> {
                conn.setTransactionIsolation(LEVELS.get(r.get("sql")));
                conn.setAutoCommit(false);
            }
            case "commit", "rollback" -> {
                try {
                    if (what.equals("commit")) conn.commit();
                    else conn.rollback();
                } finally {
                    // An error can be the transaction's end, too. In one that is still open this would commit.
                    if (status().equals("idle")) conn.setAutoCommit(true);
                }
            }
            case "exec", "prepared", "batch" -> exec(what, r);
            case "query" -> {
                return query(r);
            }
            case "copy" -> new CopyManager(conn.unwrap(BaseConnection.class)).copyIn(r.get("sql"), new StringReader(r.get("data")));
            default -> throw new IllegalArgumentException(what);
        }
        return List.of();
    }

    void exec(String what, Form r) throws SQLException {
        if (r.rows().isEmpty()) {
            try (Statement s = conn.createStatement()) {
                s.execute(r.get("sql"));
            }
            return;
        }
        try (PreparedStatement s = prepare(r)) {
            for (String row : r.rows()) {
                bind(s, r, row);
                if (what.equals("batch")) s.addBatch();
                else s.execute();
            }
            if (what.equals("batch")) s.executeBatch();
        }
    }

    List<String> query(Form r) throws SQLException {
        List<String> got = new ArrayList<>();
        try (PreparedStatement s = prepare(r)) {
            if (!r.rows().isEmpty()) bind(s, r, r.rows().get(0));
            ResultSet rows = s.executeQuery();
            while (rows.next()) got.add(rows.getString(1));
        }
        return got;
    }

    PreparedStatement prepare(Form r) throws SQLException {
        PreparedStatement s = conn.prepareStatement(PARAMETER.matcher(r.get("sql")).replaceAll("?"));
        s.unwrap(PGStatement.class).setPrepareThreshold(r.get("named").equals("1") ? 1 : 0);
        return s;
    }

    static void bind(PreparedStatement s, Form r, String row) throws SQLException {
        String[] values = row.split(",");
        Matcher m = PARAMETER.matcher(r.get("sql"));
        for (int i = 1; m.find(); i++) s.setInt(i, Integer.parseInt(values[Integer.parseInt(m.group(1)) - 1]));
    }

    public static void main(String[] args) throws IOException {
        Map<String, WorkJdbc> sessions = new HashMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            Form r = new Form(line);
            String name = r.get("session");
            if (r.get("do").equals("open")) {
                WorkJdbc s = new WorkJdbc();
                sessions.put(name, s);
                Thread t = new Thread(() -> s.run(name));
                t.setDaemon(true);
                t.start();
            }
            sessions.get(name).requests.add(r);
        }
    }
}
