package commit_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(runner{m}) }

// runner closes what tests share after them.
type runner struct{ *testing.M }

func (r runner) Run() int {
	defer func() {
		if sharedCluster != nil {
			if err := sharedCluster.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	return r.M.Run()
}

// sharedCluster is a single server for tests that leave it as it was.
var sharedCluster *rdstest.Cluster

// patience is for everything that must happen some time.
const patience = time.Minute

// world is a cluster and a client's view of it.
type world struct {
	*rdstest.Cluster
	t   *testing.T
	ctx context.Context
	top *topology.Cluster
}

// start starts a cluster and watches it.
func start(t *testing.T, cfg rdstest.Config) *world {
	t.Helper()
	return view(t, rdstest.Start(t, cfg))
}

// shared is a view of the shared server, with the table.
func shared(t *testing.T) *world {
	t.Helper()
	fresh := sharedCluster == nil
	if fresh {
		ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
		defer cancel()
		c, err := rdstest.New(ctx, rdstest.Config{Flavor: rdstest.Replication, Readers: -1})
		if err != nil {
			t.Fatal(err)
		}
		sharedCluster = c
	}
	w := view(t, sharedCluster)
	if fresh {
		w.prepare()
	}
	return w
}

func view(t *testing.T, c *rdstest.Cluster) *world {
	t.Helper()
	w := &world{Cluster: c, t: t}
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	w.ctx = ctx
	w.top = w.watch()
	w.reign()
	return w
}

// plain is a cluster with physical replication, and with the table.
func plain(t *testing.T, readers int) *world {
	t.Helper()
	w := start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: readers})
	w.prepare()
	return w
}

// prepare makes the table of markers and one for work.
func (w *world) prepare() {
	w.t.Helper()
	w.migrate()
	w.admin(w.Writer()).run("create table t (v text); grant all on t to public")
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) migrate() {
	w.t.Helper()
	w.admin(w.Writer()).run(commit.Migration())
}

// watch attaches a monitor of its own.
func (w *world) watch() *topology.Cluster {
	w.t.Helper()
	cfg := topology.Config{Name: w.t.Name()}
	for _, in := range w.Instances() {
		cfg.Seeds = append(cfg.Seeds, endpoint(in))
	}
	c, err := topology.New(cfg)
	w.must(err)
	w.t.Cleanup(c.Attach(w.prober()))
	return c
}

func (w *world) prober() topology.Prober {
	return topology.NewPostgresProber(topology.KindReplication, func(ctx context.Context, ep topology.Endpoint, _ []netip.Addr) (*pgconn.PgConn, error) {
		for _, in := range w.Instances() {
			if endpoint(in) == ep {
				return pgconn.Connect(ctx, w.AddressDSN(in))
			}
		}
		return nil, fmt.Errorf("no instance at %v", ep)
	})
}

func endpoint(in *rdstest.Instance) topology.Endpoint {
	return topology.Endpoint{Host: in.Addr().Addr().String(), Port: in.Addr().Port()}
}

// reign waits until the monitor has proven the cluster's own writer anew.
func (w *world) reign() topology.Reign {
	w.t.Helper()
	return w.reignOf(w.top)
}

func (w *world) reignOf(top *topology.Cluster) topology.Reign {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for {
		in, s, err := top.Pick(ctx, topology.WantWriter, top.Now())
		if err != nil {
			w.t.Fatal(err)
		}
		if in.Endpoint == endpoint(w.Writer()) {
			return s.Reign
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// readers waits until the monitor has seen all readers as such.
func (w *world) readers() {
	w.t.Helper()
	w.must(w.WaitSettled(w.ctx))
	for len(w.top.Snapshot().Readers()) < len(w.Readers()) {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		_, _, err := w.top.Pick(ctx, topology.WantReader, w.top.Now())
		cancel()
		w.must(err)
		time.Sleep(5 * time.Millisecond)
	}
}

// conn is a connection, and a commit.Querier.
type conn struct {
	*pgconn.PgConn
	w *world
}

// app logs in as an application does.
func (w *world) app(in *rdstest.Instance) *conn {
	w.t.Helper()
	pg, err := pgconn.Connect(w.ctx, w.AddressDSN(in))
	w.must(err)
	return w.keep(pg)
}

// admin logs in as a superuser, past the instance's front.
func (w *world) admin(in *rdstest.Instance) *conn {
	w.t.Helper()
	c, err := w.AdminConn(w.ctx, in)
	w.must(err)
	return w.keep(c.PgConn())
}

// as logs in past the instance's front with another role's rights.
func (w *world) as(in *rdstest.Instance, role string) *conn {
	w.t.Helper()
	c := w.admin(in)
	c.run("set session authorization " + role)
	return c
}

func (w *world) keep(pg *pgconn.PgConn) *conn {
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = pg.Close(ctx) // it may be dead
		<-pg.CleanupDone()
	})
	return &conn{PgConn: pg, w: w}
}

// Query implements commit.Querier.
func (c *conn) Query(ctx context.Context, sql string) (string, error) {
	all, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	for _, r := range all {
		if len(r.Rows) > 0 {
			return string(r.Rows[0][0]), nil
		}
	}
	return "", nil
}

// run runs SQL that must succeed.
func (c *conn) run(sql string) string {
	c.w.t.Helper()
	v, err := c.Query(c.w.ctx, sql)
	if err != nil {
		c.w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// start runs SQL in a goroutine.
func (c *conn) start(sql string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Query(c.w.ctx, sql)
		done <- err
	}()
	return done
}

// inject runs the injected statement as a mount does.
func (c *conn) inject(m commit.Mode, key commit.Key) commit.Evidence {
	c.w.t.Helper()
	e, err := c.tryInject(m, key)
	c.w.must(err)
	return e
}

func (c *conn) tryInject(m commit.Mode, key commit.Key) (commit.Evidence, error) {
	e := commit.Evidence{Mode: m, Key: key}
	params := commit.LSNParams(true)
	if m == commit.Marker {
		params = key.Params()
	}
	r := c.ExecParams(c.w.ctx, commit.Statement(m), params, nil, nil, nil).Read()
	if r.Err != nil {
		return e, r.Err
	}
	if len(r.Rows) != 1 {
		return e, fmt.Errorf("%d rows", len(r.Rows))
	}
	return e, commit.ReadAnswer(m, r.Rows[0], &e)
}

var sessions atomic.Uint64

// newKey is the first commit of a new session.
func newKey() commit.Key {
	k := commit.Key{Seq: 1}
	copy(k.Session[:], fmt.Sprintf("test-%011d", sessions.Add(1)))
	return k
}

func next(k commit.Key) commit.Key {
	k.Settled = k.Seq
	k.Seq++
	return k
}

// decide decides over a connection of its own to the cluster's writer.
func (w *world) decide(e commit.Evidence, reign topology.Reign) commit.Outcome {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	o, err := commit.Decide(ctx, w.app(w.Writer()), e, reign)
	w.must(err)
	return o
}

func (w *world) expect(want commit.Outcome, e commit.Evidence, reign topology.Reign) {
	w.t.Helper()
	if got := w.decide(e, reign); got != want {
		w.t.Errorf("%v by %v, want %v; evidence %+v, reign %+v", got, e.Mode, want, e, reign)
	}
}

// failover makes another instance the writer and lets the monitor see it.
func (w *world) failover() topology.Reign {
	w.t.Helper()
	_, err := w.Failover(w.ctx)
	w.must(err)
	return w.reign()
}

// code is the SQLSTATE of an error.
func code(err error) string {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// isolations are how a client's transaction may begin.
var isolations = []string{"read committed", "repeatable read", "serializable"}

// position reads a number out of a query that gives an LSN.
func (c *conn) position(sql string) uint64 {
	c.w.t.Helper()
	n, err := strconv.ParseUint(c.run("select ("+sql+" - '0/0'::pg_lsn)::bigint"), 10, 64)
	c.w.must(err)
	return n
}
