package pooler_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// begun is what has become of a startup: an error as the server has it, or the settings that it has made.
func begun(t *testing.T, dsn string, params map[string]string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams = params
	conn, err := pgx.ConnectConfig(testContext(t), cfg)
	if err != nil {
		var pg *pgconn.PgError
		if !errors.As(err, &pg) {
			return err.Error()
		}
		return fmt.Sprintf("%s %s %q %q %q", pg.Severity, pg.Code, pg.Message, pg.Detail, pg.Hint)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	const changed = `select string_agg(name || '=' || setting, ' ' order by name) from pg_settings where name in ('work_mem', 'client_encoding', 'application_name', 'DateStyle',
		'search_path', 'statement_timeout', 'TimeZone', 'enable_seqscan', 'enable_nestloop', 'enable_hashjoin', 'debug_print_parse', 'geqo_threshold', 'extra_float_digits')`
	results, err := conn.PgConn().Exec(testContext(t), changed).ReadAll()
	if err != nil {
		return err.Error()
	}
	got := string(results[0].Rows[0][0])
	return got + " " + conn.PgConn().ParameterStatus("client_encoding") + " " + conn.PgConn().ParameterStatus("application_name")
}

// A startup has through the pooler what it has at the server itself: the settings, or its refusal in its words.
func TestAStartupIsTheServersOwn(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	direct, err := pgx.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	itself := shared.AddressDSN(shared.Writer())
	cases := []map[string]string{
		{}, {"work_mem": "9MB"}, {"work_mem": "much"}, {"nosuch": "1"}, {"my.own": "1"}, {"client_encoding": "LATIN1"}, {"client_encoding": "nosuch"}, {"datestyle": "german"}, {"timezone": "nowhere"},
		{"role": "nobody_there"}, {"max_connections": "7"}, {"log_statement": "all"}, {"session_authorization": "nobody_there"}, {"server_version": "1"}, {"transaction_isolation": "x"}, {"search_path": "a, b"},
		{"options": "-c work_mem=9MB", "work_mem": "7MB"}, {"options": "-c client_encoding=LATIN1", "client_encoding": "UTF8"}, {"options": "-c application_name=a", "application_name": "b"},
		{"options": "-c Work_Mem=9MB", "work_mem": "7MB"}, {"options": "--client-encoding=LATIN1", "client_encoding": "UTF8"}, {"options": "-c zero_damaged_pages=on", "work_mem": "x"},
		{"options": "-c work_mem=bad", "work_mem": "7MB"},
	}
	for _, options := range []string{
		"-c work_mem=9MB", "-cwork_mem=9MB", "--work_mem=9MB", "--work-mem=9MB", "-c work-mem=9MB", `-c search_path=a\ b`, `-c search_path=a\\b`, `-c application_name=a\`, "  -c\twork_mem=9MB\n-cstatement_timeout=5s ",
		"-c work_mem=9MB -c work_mem=7MB", "-e", "-S 9000", "-S9000", "-fs", "-f h", "-f x", "-f", "-fn -fh", "-eS 9000", "-eefs", "-tpa", "-t x", "-s", "-O", "-F", "-B 10", "-N 5", "-h x", "-i", "-k /x", "-l", "-p 5",
		"-eZ", "-Ze", "-e -Ze", "x -Z", "x -c y", "-d 0", "-d 3", "-d", "-b", "-j", "-E", "-D /x", "-C x", "-r x", "-T", "-v 3", "-x", "-c", "-c work_mem", "--work_mem", "-c =x", "--", "-- x", "-", "x", "-c work_mem=", `\ -e`, "-c work_mem=9MB x", "-c nosuch=1", "-c max_connections=7",
		"-c 'work_mem=9MB'", "-c geqo_threshold=13 --extra_float_digits=2", "-c a.b=c=d", "-e -c datestyle=iso",
	} {
		cases = append(cases, map[string]string{"options": options})
	}
	via := fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", addr.(*net.TCPAddr).Port, direct.User, direct.Database)
	for _, params := range cases {
		want, got := begun(t, itself, params), begun(t, via, params)
		if got != want {
			t.Errorf("%v:\n\t%s\nthe server itself:\n\t%s", params, got, want)
		}
	}
	// What cannot be set any more on a connection that is there already is refused by name.
	for _, params := range []map[string]string{{"options": "-P"}, {"options": "-W 1"}, {"post_auth_delay": "1"}} {
		if got := begun(t, via, params); !strings.Contains(got, "cannot be set after connection start") {
			t.Errorf("%v: %s", params, got)
		}
	}
}

// What the server refuses at the login is told in its words.
func TestARefusedLoginIsTheServersOwn(t *testing.T) {
	asSuperuser(t, shared, "create database closed", "revoke connect on database closed from public", "create database shut with allow_connections false",
		"create database \"full\" connection limit 0")
	t.Cleanup(func() { asSuperuser(t, shared, "drop database closed", "drop database shut", "drop database \"full\"") })
	_, addr := start(t, shared, shared.DSN()+"&failover_timeout=2s", nil)
	direct, err := pgx.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	for _, db := range []string{"nosuch", "closed", "shut"} {
		want := begun(t, strings.Replace(shared.AddressDSN(shared.Writer()), "/"+direct.Database+"?", "/"+db+"?", 1), nil)
		got := begun(t, fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", addr.(*net.TCPAddr).Port, direct.User, db), nil)
		if got != want {
			t.Errorf("%s:\n\t%s\nthe server itself:\n\t%s", db, got, want)
		}
	}
	got := begun(t, fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=full sslmode=disable", addr.(*net.TCPAddr).Port, direct.User), nil)
	if !strings.Contains(got, "53300") || !strings.Contains(got, `too many connections for database`) {
		t.Errorf("full: %s", got)
	}
}
