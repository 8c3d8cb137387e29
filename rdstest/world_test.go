package rdstest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/rdstest"
)

// patience bounds what a test waits for; nothing here is measured.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		beChild()
	}
	goleak.VerifyTestMain(m)
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects as an application does that uses the cluster's resolver.
func dial(ctx context.Context, c *rdstest.Cluster, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.LookupFunc = c.LookupHost
	return pgx.ConnectConfig(ctx, cfg)
}

func connect(t testing.TB, c *rdstest.Cluster, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := dial(testContext(t), c, dsn)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func admin(t testing.TB, c *rdstest.Cluster, in *rdstest.Instance) *pgx.Conn {
	t.Helper()
	conn, err := c.AdminConn(testContext(t), in)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(testContext(t), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// ask returns a single value as text.
func ask(t testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var v any
	if err := conn.QueryRow(testContext(t), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(v)
}

func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// eventually waits until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAClusterIsReadyWhenItIsStarted(t *testing.T) {
	for _, flavor := range []rdstest.Flavor{rdstest.Aurora, rdstest.Replication} {
		t.Run(string(flavor), func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Flavor: flavor, Name: "shop"})
			var ids []string
			for _, in := range c.Instances() {
				ids = append(ids, fmt.Sprint(in.ID(), " ", in.Role(), " ", in.State()))
			}
			if want := []string{"shop-1 writer running", "shop-2 reader running", "shop-3 reader running"}; !slices.Equal(ids, want) {
				t.Errorf("instances: %q, want %q", ids, want)
			}
			writer := connect(t, c, c.DSN())
			execute(t, writer, "create table t as select 42 as a")
			must(t, c.WaitSettled(testContext(t)))
			for _, in := range c.Readers() {
				conn := connect(t, c, c.InstanceDSN(in))
				if got := ask(t, conn, "select a || ' ' || pg_is_in_recovery() from t"); got != "42 true" {
					t.Errorf("%s: %s", in.ID(), got)
				}
				if _, err := conn.Exec(testContext(t), "insert into t values (1)"); code(err) != "25006" {
					t.Errorf("%s: a write gets %v", in.ID(), err)
				}
			}
			if got := ask(t, writer, "show synchronous_standby_names"); got != `ANY 1 ("shop-2", "shop-3")` {
				t.Errorf("commits wait for %s", got)
			}
		})
	}
}

func TestEndpointsLeadWhereTheirNamesSay(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	for _, in := range c.Instances() {
		addrs, err := c.LookupHost(testContext(t), in.Host())
		if err != nil || !slices.Equal(addrs, []string{in.Addr().Addr().String()}) {
			t.Errorf("%s is %v, %v; want %v", in.Host(), addrs, err, in.Addr())
		}
	}
	seen := map[string]bool{}
	for range 4 {
		seen[ask(t, connect(t, c, c.ReaderDSN()), "select aurora_db_instance_identifier()")] = true
	}
	if len(seen) != 2 || seen["app-1"] {
		t.Errorf("the reader endpoint leads to %v", seen)
	}
	if got := ask(t, connect(t, c, c.MultiHostDSN()+"&target_session_attrs=read-write"), "select aurora_db_instance_identifier()"); got != "app-1" {
		t.Errorf("of all hosts, %s takes writes", got)
	}
	// By address, certificates and all, without the resolver.
	for _, dsn := range []string{c.AddressDSN() + "&target_session_attrs=read-write", c.AddressDSN(c.Writer())} {
		conn, err := pgx.Connect(testContext(t), dsn)
		must(t, err)
		defer conn.Close(context.Background())
		if got := ask(t, conn, "select aurora_db_instance_identifier()"); got != "app-1" {
			t.Errorf("%s is %s", dsn, got)
		}
	}
}

func TestTheEndpointMovesWithTheWriter(t *testing.T) {
	const stale = time.Second
	c := rdstest.Start(t, rdstest.Config{StaleDNS: stale, Readers: 1})
	ctx := testContext(t)
	cfg, err := pgx.ParseConfig(c.DSN())
	must(t, err)
	points := func(in *rdstest.Instance) bool {
		addrs, err := c.LookupHost(ctx, cfg.Host)
		return err == nil && slices.Equal(addrs, []string{in.Addr().Addr().String()})
	}
	old := c.Writer()
	began := time.Now()
	next, err := c.Failover(ctx)
	must(t, err)
	if stays := points(old); !stays && time.Since(began) < stale {
		t.Errorf("the endpoint has left %s at once", old.ID())
	}
	eventually(t, "the endpoint leads to the new writer", func() bool { return points(next) })
}

func TestClustersDoNotKnowEachOther(t *testing.T) {
	var clusters []*rdstest.Cluster
	t.Run("start", func(t *testing.T) {
		made := make(chan *rdstest.Cluster, 2)
		for range 2 {
			go func() {
				c, err := rdstest.New(context.Background(), rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
				if err != nil {
					t.Error(err)
				}
				made <- c
			}()
		}
		for range 2 {
			if c := <-made; c != nil {
				clusters = append(clusters, c)
			}
		}
	})
	for _, c := range clusters {
		defer c.Close()
	}
	if len(clusters) != 2 {
		t.Fatal("not both have started")
	}
	var systems []string
	for i, c := range clusters {
		conn := connect(t, c, c.DSN())
		systems = append(systems, ask(t, conn, "select system_identifier from pg_control_system()"))
		execute(t, conn, fmt.Sprintf("create table only_%d (a int)", i))
	}
	if systems[0] == systems[1] {
		t.Errorf("both are system %s", systems[0])
	}
	cfg, err := pgx.ParseConfig(clusters[0].AddressDSN())
	must(t, err)
	other, err := pgx.ParseConfig(clusters[1].AddressDSN())
	must(t, err)
	cfg.Password = other.Password
	if _, err := pgx.ConnectConfig(testContext(t), cfg); code(err) != "28P01" {
		t.Errorf("with the other's password: %v", err)
	}
	cfg, err = pgx.ParseConfig(clusters[0].AddressDSN())
	must(t, err)
	cfg.TLSConfig.RootCAs = other.TLSConfig.RootCAs
	cfg.Fallbacks = nil
	if _, err := pgx.ConnectConfig(testContext(t), cfg); err == nil {
		t.Error("a certificate of the other's authority was good")
	}
}

func TestAClosedClusterFailsAtOnce(t *testing.T) {
	c, err := rdstest.New(context.Background(), rdstest.Config{Readers: 1})
	must(t, err)
	waiting := make(chan error, 1)
	must(t, c.Freeze(testContext(t), c.Writer()))
	go func() { waiting <- c.WaitSettled(context.Background()) }()
	must(t, c.Close())
	must(t, c.Close())
	select {
	case err := <-waiting:
		if err == nil {
			t.Error("a closed cluster has settled")
		}
	case <-time.After(patience):
		t.Error("a wait goes on after Close")
	}
	if _, err := c.Failover(context.Background()); err == nil {
		t.Error("a failover without a cluster")
	}
	if _, err := os.Stat(c.CAFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the certificate is still there: %v", err)
	}
}
