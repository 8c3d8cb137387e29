package pooler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// migrate changes a table, and has the pool's server connections replaced.
func migrate(t *testing.T, table string) {
	t.Helper()
	ctx := testContext(t)
	admin, err := shared.AdminConn(ctx, shared.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	for _, sql := range []string{
		"alter table " + table + " alter n type text, add m int default 7",
		"select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'app' and backend_type = 'client backend'",
	} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func TestAResultThatHasChangedIsToldAsAServerDoes(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	conn := connect(t, url(shared, addr))
	exec(t, conn, "create table migrated (n int)")
	defer exec(t, conn, "drop table migrated")
	ctx := testContext(t)
	if _, err := conn.PgConn().Prepare(ctx, "mine", "select * from migrated", nil); err != nil {
		t.Fatal(err)
	}
	migrate(t, "migrated")
	err := conn.PgConn().ExecPrepared(ctx, "mine", nil, nil, nil).Read().Err
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Fatal(err)
	}
	if pg.Code != "0A000" || pg.Message != "cached plan must not change result type" || pg.Routine != "RevalidateCachedQuery" || pg.File != "plancache.c" {
		t.Errorf("got %+v", pg)
	}
	if !strings.Contains(pg.Detail, `"mine"`) {
		t.Errorf("the detail %q does not name the statement", pg.Detail)
	}
}

// healing are programs that run the statement "select * from TABLE" on one connection as a prepared one, a few times, write a line, wait for
// one, run it again, and write the last column of its row.
var healing = []struct {
	name, file, text string
	command          []string
	there            func() bool
}{
	{"asyncpg", "heal.py", `
import asyncio, os, sys, asyncpg
async def main():
    conn = await asyncpg.connect(os.environ["DSN"])
    for i in range(3):
        await conn.fetch("select * from " + sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print((await conn.fetch("select * from " + sys.argv[1]))[0][-1], flush=True)
    await conn.close()
asyncio.run(main())
`, []string{"/usr/bin/python3"}, func() bool { return osexec.Command("/usr/bin/python3", "-c", "import asyncpg").Run() == nil }},
	{"JDBC", "Heal.java", `
import java.sql.*;
public class Heal {
    public static void main(String[] args) throws Exception {
        try (Connection c = DriverManager.getConnection(System.getenv("JDBC"));
             PreparedStatement p = c.prepareStatement("select * from " + args[0])) {
            for (int i = 0; i < 3; i++) p.executeQuery().close();
            System.out.println("ready");
            System.in.read();
            ResultSet r = p.executeQuery();
            r.next();
            System.out.println(r.getString(r.getMetaData().getColumnCount()));
        }
    }
}
`, []string{"java", "-cp", "/usr/share/java/postgresql.jar"}, func() bool {
		_, java := osexec.LookPath("java")
		_, jar := os.Stat("/usr/share/java/postgresql.jar")
		return java == nil && jar == nil
	}},
}

// Clients that prepare a statement again when a server says that its result has changed do so here too.
func TestClientsHealAfterAMigration(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	conn := connect(t, url(shared, addr))
	for _, p := range healing {
		t.Run(p.name, func(t *testing.T) {
			if !p.there() {
				t.Skip("it is not installed: scripts/setup-languages installs psycopg and, with jdbc, JDBC; asyncpg is python3-asyncpg")
			}
			table := "heals_" + strings.ToLower(p.name)
			exec(t, conn, "create table "+table+" (n int); insert into "+table+" values (1)")
			defer exec(t, conn, "drop table "+table)
			file := filepath.Join(t.TempDir(), p.file)
			if err := os.WriteFile(file, []byte(p.text), 0o600); err != nil {
				t.Fatal(err)
			}
			dsn := url(shared, addr)
			cmd := osexec.CommandContext(testContext(t), p.command[0], append(p.command[1:], file, table)...)
			cmd.Env = append(os.Environ(), "DSN="+dsn, "JDBC="+jdbcURL(dsn))
			cmd.Stderr = t.Output()
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := make(chan string, 8)
			go func() {
				defer close(lines)
				readLines(out, lines)
			}()
			if got := <-lines; got != "ready" {
				t.Errorf("it says %q", got)
			}
			migrate(t, table)
			_, _ = in.Write([]byte("\n"))
			if got := <-lines; got != "7" {
				t.Errorf("after the migration it says %q, want 7", got)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// jdbcURL is a DSN as JDBC has it.
func jdbcURL(dsn string) string {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("jdbc:postgresql://%s:%d/%s?user=%s&sslmode=disable&prepareThreshold=1", cfg.Host, cfg.Port, cfg.Database, cfg.User)
}

func readLines(r io.Reader, lines chan<- string) {
	for s := bufio.NewScanner(r); s.Scan(); {
		lines <- s.Text()
	}
}
