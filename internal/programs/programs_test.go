package programs

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// limit bounds what one program does, on a busy machine.
const limit = 10 * time.Minute

// program is one of testdata's, and what runs it. It is called with "work" or "listen", and a folder for its files.
type program struct {
	name    string
	command []string
	pins    []string // what it keeps connections for
}

var all = []program{
	{name: "psql", command: []string{"sh", "psql.sh"}},
	{name: "pgbench", command: []string{"sh", "pgbench.sh"}},
	{name: "pg_dump", command: []string{"sh", "dump.sh"}},
	{name: "psycopg2", command: []string{"/usr/bin/python3", "app_psycopg2.py"}},
	{name: "psycopg3", command: []string{"/usr/bin/python3", "app_psycopg3.py"}},
	{name: "asyncpg", command: []string{"/usr/bin/python3", "app_asyncpg.py"}},
	{name: "SQLAlchemy", command: []string{"/usr/bin/python3", "app_sqlalchemy.py"}},
	// Its iterator() outside of a transaction declares a cursor WITH HOLD, and closes it.
	{name: "Django", command: []string{"/usr/bin/python3", "app_django.py"}, pins: []string{"cursors WITH HOLD"}},
	{name: "psqlODBC", command: []string{"/usr/bin/python3", "app_pyodbc.py"}},
	{name: "node-postgres", command: []string{"node", "app.js"}},
	// "prisma migrate" holds a lock while it applies migrations.
	{name: "Prisma", command: []string{"node", "app_prisma.js"}, pins: []string{"session-level advisory locks"}},
	{name: "JDBC", command: []string{"java", "-cp", "/usr/share/java/postgresql.jar", "App.java"}},
	{name: "ActiveRecord", command: []string{"/usr/bin/ruby", "app.rb"}},
}

func TestPrograms(t *testing.T) {
	if os.Getenv("FAIRLEAD_PROGRAMS") == "" {
		t.Skip("it needs Java, Ruby and a dozen packages: make programs installs them and runs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := rdstest.New(ctx, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			w := startWorld(t, cluster)
			slices.Sort(p.pins)
			for _, what := range []string{"work", "listen"} {
				w.run(t, p, what)
				if got := w.pins(t); !slices.Equal(got, p.pins) {
					t.Errorf("%s: it pinned %q, want %q", what, got, p.pins)
				}
			}
		})
	}
}

// world is a pooler before a cluster.
type world struct {
	env    []string
	reader *sdk.ManualReader
}

// startWorld starts a pooler in transaction mode, which verifies that no connection carries anything from one session to
// another. It ends with the test.
func startWorld(t *testing.T, cluster *rdstest.Cluster) *world {
	t.Helper()
	u, err := url.Parse(cluster.DSN())
	if err != nil {
		t.Fatal("the cluster's DSN is not a URL")
	}
	db, err := driver.ParseConfig(u.String())
	if err != nil {
		t.Fatal(err)
	}
	db.Resolver = cluster.Resolver()
	w := &world{reader: sdk.NewManualReader()}
	s, err := pooler.New(pooler.Config{
		Listeners: []pooler.Listener{{Address: "127.0.0.1:0"}},
		// Two connections more than the jobs of pg_dump hold while it waits for them.
		Clusters:      map[string]*pooler.Cluster{"main": {Database: db, PoolSize: 5, VerifyClean: pooler.VerifyOn}},
		MeterProvider: sdk.NewMeterProvider(sdk.WithReader(w.reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := s.Stats().Unclean; n != 0 {
			t.Errorf("%d connections were not clean", n)
		}
	})
	addrs, err := s.Addrs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	if len(bin) > 0 { // the wrappers of Debian leave out pgbench
		path = bin[len(bin)-1] + ":" + path
	}
	w.env = append(os.Environ(), "PATH="+path, "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", addrs[0].(*net.TCPAddr).Port),
		"PGUSER="+db.Conn.User, "PGDATABASE="+db.Conn.Database, "PGSSLMODE=disable", "PGGSSENCMODE=disable")
	return w
}

// run has the program do one of its two things.
func (w *world) run(t *testing.T, p program, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	dir := t.TempDir()
	args := append(slices.Clone(p.command[1:]), what, dir)
	cmd := exec.CommandContext(ctx, p.command[0], args...)
	cmd.Dir, cmd.Env = "testdata", append(w.env, "TMPDIR="+dir, "PYTHONDONTWRITEBYTECODE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it has started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", what, err, out)
	}
}

// pins are the states that sessions have kept connections for, until now.
func (w *world) pins(t *testing.T) (states []string) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != "fairlead.pool.pins" || !ok {
				continue
			}
			for _, point := range sum.DataPoints {
				state, _ := point.Attributes.Value("state")
				states = append(states, state.AsString())
			}
		}
	}
	slices.Sort(states)
	return states
}
