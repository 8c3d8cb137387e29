package pooler_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

// fixed is an address that nobody listens on.
func fixed(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// reloadable runs a pooler and has its Config, for Reload.
func reloadable(t testing.TB, change func(*pooler.Config)) (s *pooler.Server, addr net.Addr, cfg pooler.Config) {
	t.Helper()
	s, addr = start(t, shared, shared.DSN(), plain(func(c *pooler.Config) {
		if change != nil {
			change(c)
		}
		cfg = *c
	}))
	k := *cfg.Clusters["main"]
	cfg.Clusters = map[string]*pooler.Cluster{"main": &k}
	return s, addr, cfg
}

func TestAReloadChangesThePoolUnderItsClients(t *testing.T) {
	s, addr, cfg := reloadable(t, nil)
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, a, "begin")
	done := make(chan error, 1)
	go func() {
		_, err := b.Exec(testContext(t), "begin")
		done <- err
	}()
	eventually(t, "nobody waits", func() bool { return s.Stats().Waiting == 1 })
	cfg.Clusters["main"].PoolSize = 2
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	cfg.Clusters["main"].PoolSize = 1
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	exec(t, b, "commit")
	exec(t, a, "commit")
	eventually(t, "too many connections are open", func() bool { return s.Stats().Open == 1 })
	value(t, b, "select 'served'")
	cfg.QueryTimeout = 200 * time.Millisecond
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Exec(testContext(t), "select pg_sleep(3600)"); code(err) != "57014" {
		t.Errorf("%v", err)
	}
}

func TestAReloadOpensAndClosesListenersAndAddsClusters(t *testing.T) {
	s, addr, cfg := reloadable(t, func(c *pooler.Config) { c.Listeners[0].Address = fixed(t) })
	stays := connect(t, url(shared, addr))
	db, err := driver.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	db.Resolver = shared.Resolver()
	second := fixed(t)
	cfg.Clusters["second"] = &pooler.Cluster{Database: db}
	cfg.Listeners = []pooler.Listener{{Address: second, Cluster: "second", Mode: pooler.Statement}}
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	addrs, err := s.Addrs(testContext(t))
	if err != nil || len(addrs) != 1 || addrs[0].String() != second {
		t.Fatalf("%v, %v", addrs, err)
	}
	if _, err := connect(t, url(shared, addrs[0])).Exec(testContext(t), "begin"); code(err) != "0A000" {
		t.Errorf("the new listener's mode: %v", err)
	}
	if c, err := pgx.Connect(testContext(t), url(shared, addr)); err == nil {
		_ = c.Close(testContext(t))
		t.Error("the old listener lets clients in")
	}
	if got := value(t, stays, "select 'served'"); got != "served" {
		t.Error(got)
	}
	cfg.Listeners[0].Mode = pooler.Transaction
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	exec(t, connect(t, url(shared, addrs[0])), "begin")
}

func TestABadReloadChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	s, addr, cfg := reloadable(t, func(c *pooler.Config) { c.Listeners[0].Address = fixed(t) })
	for name, change := range map[string]func(*pooler.Config){
		"no listener": func(c *pooler.Config) { c.Listeners = nil },
		"an address that is taken": func(c *pooler.Config) {
			c.Listeners = []pooler.Listener{{Address: fixed(t)}, {Address: taken.Addr().String()}}
		},
		"an admin address that is taken": func(c *pooler.Config) { c.Admin = taken.Addr().String() },
		"a cluster that is not there":    func(c *pooler.Config) { c.Listeners = []pooler.Listener{{Address: addr.String(), Cluster: "x"}} },
	} {
		bad := cfg
		change(&bad)
		if err := s.Reload(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := value(t, connect(t, url(shared, addr)), "select 'served'"); got != "served" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAnotherDSNIsForThoseWhoComeAfterTheReload(t *testing.T) {
	s, addr, cfg := reloadable(t, nil)
	before := connect(t, url(shared, addr))
	pid := value(t, before, "select pg_backend_pid()::text")
	cfg.Clusters["main"].InitQuery = "set work_mem = '11MB'"
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	after := connect(t, url(shared, addr))
	if got := value(t, after, "select current_setting('work_mem')"); got != "11MB" {
		t.Error(got)
	}
	if got := value(t, before, "select pg_backend_pid()::text"); got != pid {
		t.Error("the old pool is gone under its client")
	}
	if st := s.Stats(); len(st.Pools) != 2 {
		t.Errorf("%+v", st.Pools)
	}
	_ = before.Close(testContext(t))
	eventually(t, "the old pool stays", func() bool { return len(s.Stats().Pools) == 1 })
}

// ask asks an admin address.
func ask(t testing.TB, method, u string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var raw json.RawMessage
	if err := json.NewDecoder(res.Body).Decode(&raw); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

func TestTheAdminAddressTellsHowItGoes(t *testing.T) {
	admin := fixed(t)
	var next pooler.Config
	var broken error
	s, addr, cfg := reloadable(t, func(c *pooler.Config) {
		c.Admin = admin
		c.Source = func() (pooler.Config, error) { return next, broken }
	})
	base := "http://" + admin
	if status, body := ask(t, "GET", base+"/livez"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	eventually(t, "it does not become ready", func() bool { status, _ := ask(t, "GET", base+"/readyz"); return status == 200 })
	conn := connect(t, url(shared, addr))
	exec(t, conn, "create temporary table kept (x int)")
	_, body := ask(t, "GET", base+"/stats")
	var st pooler.Stats
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatal(err)
	}
	if st.Clients != 1 || len(st.Pools) != 1 || st.Pools[0].Pinned != 1 || st.Pools[0].Pins["temporary tables"] != 1 {
		t.Errorf("%s", body)
	}
	next = cfg
	next.QueryTimeout = 200 * time.Millisecond
	if status, body := ask(t, "POST", base+"/reload"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if _, err := conn.Exec(testContext(t), "select pg_sleep(3600)"); code(err) != "57014" {
		t.Errorf("%v", err)
	}
	broken = errors.New("the file is broken")
	if status, body := ask(t, "POST", base+"/reload"); status != 422 || !strings.Contains(body, "the file is broken") {
		t.Errorf("%d %s", status, body)
	}
	exec(t, conn, "drop table kept")
	eventually(t, "the session stays pinned", func() bool { return s.Stats().Pinned == 0 })
}

func TestTheGaugesTellOfEachPool(t *testing.T) {
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	_, addr := start(t, shared, shared.DSN(), plain(func(c *pooler.Config) { c.MeterProvider = provider }))
	value(t, connect(t, url(shared, addr)), "select 'used'")
	var got metricdata.ResourceMetrics
	if err := reader.Collect(testContext(t), &got); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int64)
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			if g, ok := m.Data.(metricdata.Gauge[int64]); ok && len(g.DataPoints) == 1 {
				if mode, _ := g.DataPoints[0].Attributes.Value("mode"); mode.AsString() == "transaction" {
					seen[m.Name] = g.DataPoints[0].Value
				}
			}
		}
	}
	for name, want := range map[string]int64{"fairlead.pool.clients": 1, "fairlead.pool.connections.open": 1, "fairlead.pool.connections.idle": 1, "fairlead.pool.connections.pinned": 0, "fairlead.pool.waiting": 0} {
		if v, ok := seen[name]; !ok || v != want {
			t.Errorf("%s is %d (%v), want %d", name, v, ok, want)
		}
	}
}

func TestAServerIsNotReadyWithoutAWriter(t *testing.T) {
	db, err := driver.ParseConfig("host=" + filepath.Join(t.TempDir(), "nobody") + " user=app dbname=app")
	if err != nil {
		t.Fatal(err)
	}
	s, err := pooler.New(pooler.Config{Listeners: []pooler.Listener{{Address: "127.0.0.1:0"}}, Clusters: map[string]*pooler.Cluster{"main": {Database: db}}})
	if err != nil {
		t.Fatal(err)
	}
	if ready, reasons := s.Ready(); ready || len(reasons) == 0 {
		t.Errorf("before Run: %v %q", ready, reasons)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(testContext(t)) }()
	if _, err := s.Addrs(testContext(t)); err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.AdminHandler())
	defer h.Close()
	if status, body := ask(t, "GET", h.URL+"/readyz"); status != 503 || !strings.Contains(body, "cluster main") {
		t.Errorf("%d %s", status, body)
	}
	s.Shutdown(testContext(t))
	if status, body := ask(t, "GET", h.URL+"/readyz"); status != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("%d %s", status, body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
