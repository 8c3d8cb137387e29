package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// supervise runs a server until its standard input ends, which it also does when this program is killed.
const supervise = `"$@" </dev/null & server=$!; read -r _; kill -QUIT $server; wait $server`

// settings of the server: what pgx's tests want, and as fast as it gets.
const settings = `
listen_addresses = '127.0.0.1'
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
ssl_ca_file = 'root.crt'
`

// server is a PostgreSQL server of this program's own.
type server struct {
	dir     string // sockets, data and log
	port    int
	bin     string
	version string
	certs   string

	cmd   *exec.Cmd
	stdin io.Closer
}

// startServer makes a server in dir and starts it, set up as pgx's testsetup wants it: pgHBA and setupSQL are files of that.
func startServer(ctx context.Context, dir, certs, pgHBA, setupSQL string) (_ *server, err error) {
	s := &server{dir: dir, certs: certs}
	if s.bin, err = findPostgres(); err != nil {
		return nil, err
	}
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := acct.own(dir); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.Env = dir, environ()
	ownGroup(initdb)
	acct.run(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compat: initdb: %w\n%s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conf, "%sport = %d\nunix_socket_directories = '%s'\n", settings, s.port, dir)
	if err := errors.Join(err, conf.Close()); err != nil {
		return nil, err
	}
	for _, file := range []struct {
		name, from string
		mode       os.FileMode
	}{
		{"pg_hba.conf", pgHBA, 0o600},
		{"root.crt", filepath.Join(certs, "ca.pem"), 0o600},
		{"server.crt", filepath.Join(certs, "localhost.crt"), 0o600},
		{"server.key", filepath.Join(certs, "localhost.key"), 0o600},
	} {
		text, err := os.ReadFile(file.from)
		if err != nil {
			return nil, err
		}
		to := filepath.Join(data, file.name)
		if err := os.WriteFile(to, text, file.mode); err != nil {
			return nil, err
		}
		if err := acct.own(to); err != nil {
			return nil, err
		}
	}
	if err := s.start(acct, data); err != nil {
		return nil, err
	}
	if err := s.setUp(ctx, setupSQL); err != nil {
		log, _ := os.ReadFile(s.log()) // it is only to help
		s.stop()
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return s, nil
}

func (s *server) log() string { return filepath.Join(s.dir, "log") }

func (s *server) start(acct *account, data string) error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command("/bin/sh", "-c", supervise, "sh", filepath.Join(s.bin, "postgres"), "-D", data)
	s.cmd.Dir, s.cmd.Env = s.dir, environ()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	ownGroup(s.cmd)
	s.cmd.Cancel = nil
	acct.run(s.cmd)
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("compat: start the server: %w", err)
	}
	return nil
}

// setUp waits for the server and makes the database.
func (s *server) setUp(ctx context.Context, setupSQL string) error {
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		version, err := s.psql(ready, "postgres", "-Atc", "SHOW server_version")
		if err == nil {
			s.version, _, _ = strings.Cut(version, " ")
			break
		}
		if ready.Err() != nil {
			return fmt.Errorf("compat: the server does not answer: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := s.psql(ctx, "postgres", "-c", "CREATE DATABASE pgx_test"); err != nil {
		return err
	}
	// Extensions that are not installed are left out, and so are then the tests that need them.
	_, err := s.psql(ctx, "pgx_test", "-f", setupSQL)
	return err
}

func (s *server) psql(ctx context.Context, database string, args ...string) (string, error) {
	target := fmt.Sprintf("host='%s' port=%d user=postgres dbname=%s", s.dir, s.port, database)
	return command(ctx, "", environ(), filepath.Join(s.bin, "psql"), append([]string{"-X", "-q", target}, args...)...)
}

// stop ends the server at once.
func (s *server) stop() {
	_ = s.stdin.Close()
	_ = s.cmd.Wait() // it is killed by a signal, and that is an error
}

// environment tells pgx's tests where the server is and how its users log in.
func (s *server) environment() []string {
	encrypted := s.encrypted(s.port)
	return append(s.environmentOf(s.port, s.port),
		"PGX_TEST_MD5_PASSWORD_CONN_STRING="+s.login("pgx_md5"),
		"PGX_TEST_PLAIN_PASSWORD_CONN_STRING="+s.login("pgx_pw"),
		"PGX_TEST_TLS_CLIENT_CONN_STRING="+fmt.Sprintf("%s user=pgx_sslcert sslcert='%s' sslkey='%s'", encrypted,
			filepath.Join(s.certs, "pgx_sslcert.crt"), filepath.Join(s.certs, "pgx_sslcert.key")),
		"PGX_SSL_PASSWORD=certpw",
	)
}

// environmentOf tells them of what answers at a port, and at the one where users log in with SCRAM, over TLS or not.
func (s *server) environmentOf(port, scram int) []string {
	main := fmt.Sprintf("host=127.0.0.1 user=pgx_md5 password=secret port=%d dbname=pgx_test", port)
	encrypted := s.encrypted(scram)
	return []string{
		"PGX_TEST_DATABASE=" + main,
		"PGX_TEST_TCP_CONN_STRING=" + main,
		"PGX_TEST_PGBOUNCER_CONN_STRING=" + main,
		"PGX_TEST_UNIX_SOCKET_CONN_STRING=" + fmt.Sprintf("host='%s' port=%d user=pgx_md5 dbname=pgx_test", s.dir, port),
		"PGX_TEST_SCRAM_PASSWORD_CONN_STRING=" +
			fmt.Sprintf("host=127.0.0.1 port=%d user=pgx_scram password=secret channel_binding=disable dbname=pgx_test", scram),
		"PGX_TEST_SCRAM_PLUS_CONN_STRING=" + encrypted + " user=pgx_ssl password=secret channel_binding=require",
		"PGX_TEST_TLS_CONN_STRING=" + encrypted + " user=pgx_ssl password=secret channel_binding=disable",
	}
}

func (s *server) encrypted(port int) string {
	return fmt.Sprintf("host=localhost port=%d dbname=pgx_test sslmode=verify-full sslrootcert='%s'", port, filepath.Join(s.certs, "ca.pem"))
}

// login is how a user logs in on the server itself.
func (s *server) login(user string) string {
	return fmt.Sprintf("host=127.0.0.1 user=%s password=secret port=%d dbname=pgx_test", user, s.port)
}

// certificate is the server's own.
func (s *server) certificate() (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(s.certs, "localhost.crt"), filepath.Join(s.certs, "localhost.key"))
	if err != nil {
		return cert, fmt.Errorf("compat: the server's certificate: %w", err)
	}
	return cert, nil
}

// findPostgres returns the folder with the server's programs: the one in PATH, or the newest in the usual places.
func findPostgres() (string, error) {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for i := len(found) - 1; i >= 0; i-- {
			dirs = append(dirs, found[i])
		}
	}
	dirs = append(filepath.SplitList(os.Getenv("PATH")), dirs...)
	for _, dir := range dirs {
		complete := true
		for _, name := range []string{"initdb", "postgres", "psql"} {
			if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
				complete = false
			}
		}
		if complete {
			return dir, nil
		}
	}
	return "", errors.New("compat: no PostgreSQL server found: run scripts/setup")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("compat: find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
