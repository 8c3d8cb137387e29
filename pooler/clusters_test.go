package pooler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// plain is without VerifyClean, whose questions are statements too.
func plain(change func(*pooler.Config)) func(*pooler.Config) {
	return func(cfg *pooler.Config) {
		cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
		if change != nil {
			change(cfg)
		}
	}
}

func TestListenersLeadToTheirClusterRoleAndMode(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1})
	other, err := driver.ParseConfig(c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	other.Resolver = c.Resolver()
	s, _ := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		cfg.Clusters["other"] = &pooler.Cluster{Database: other, PoolSize: 1}
		cfg.Listeners = []pooler.Listener{
			{Address: "127.0.0.1:0", Cluster: "main"},
			{Address: "127.0.0.1:0", Cluster: "other", TargetRole: pooler.ReadWrite},
			{Address: "127.0.0.1:0", Cluster: "other", TargetRole: pooler.ReadOnly, Mode: pooler.Session},
		}
	}))
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	system := "select system_identifier::text from pg_control_system()"
	first := connect(t, url(shared, addrs[0]))
	writer, reader := connect(t, url(c, addrs[1])), connect(t, url(c, addrs[2]))
	if value(t, first, system) == value(t, writer, system) {
		t.Error("two clusters are one")
	}
	if value(t, reader, system) != value(t, writer, system) {
		t.Error("the reader is another cluster's")
	}
	in := "select pg_is_in_recovery()::text"
	if w, r := value(t, writer, in), value(t, reader, in); w != "false" || r != "true" {
		t.Errorf("in recovery: the writer %s, the reader %s", w, r)
	}
	st := s.Stats()
	if len(st.Pools) != 3 || st.Pools[0].Cluster != "main" || st.Pools[1].TargetRole != pooler.ReadOnly || st.Pools[1].Mode != pooler.Session || st.Pools[2].Clients != 1 {
		t.Errorf("%+v", st.Pools)
	}
}

func TestStatementModeRefusesBlocksAndNothingElse(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) { cfg.Listeners[0].Mode = pooler.Statement })
	conn := connect(t, url(shared, addr))
	ctx := testContext(t)
	refused := func(what string, err error) {
		t.Helper()
		if code(err) != "0A000" || !strings.Contains(err.Error(), "statement mode") {
			t.Errorf("%s: %v", what, err)
		}
		if got := value(t, conn, "select 'served'"); got != "served" {
			t.Error(got)
		}
	}
	for _, sql := range []string{"begin", "/* c */ START TRANSACTION read only", "select 1; begin; select 2", "BEGIN; commit"} {
		_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		refused("simple: "+sql, err)
	}
	_, err := conn.Exec(ctx, "begin")
	refused("pgx", err)
	_, err = conn.Prepare(ctx, "named", "begin")
	refused("prepared", err)
	pipeline := conn.PgConn().StartPipeline(ctx)
	pipeline.SendQueryParams("select 'before'", nil, nil, nil, nil)
	pipeline.SendQueryParams("begin", nil, nil, nil, nil)
	pipeline.SendQueryParams("select 'skipped'", nil, nil, nil, nil)
	if err := pipeline.Sync(); err != nil {
		t.Fatal(err)
	}
	var seen []string
	var last error
	for {
		r, err := pipeline.GetResults()
		if err != nil {
			last = err
			seen = append(seen, "error")
			continue
		}
		rows, ok := r.(*pgconn.ResultReader)
		if !ok {
			break
		}
		for rows.NextRow() {
			seen = append(seen, string(rows.Values()[0]))
		}
		if _, err := rows.Close(); err != nil {
			last = err
			seen = append(seen, "error")
		}
	}
	if err := pipeline.Close(); err != nil && code(err) != "0A000" {
		t.Error(err)
	}
	if strings.Join(seen, " ") != "before error" {
		t.Errorf("the pipeline's answers: %q", seen)
	}
	refused("a pipeline", last)
	big := "begin --" + strings.Repeat("x", 200<<10)
	_, err = conn.PgConn().Exec(ctx, big).ReadAll()
	refused("a long text", err)
	if _, err := conn.Exec(ctx, "select $1::int", 1); err != nil {
		t.Error(err)
	}
}

func TestInitQueryHoldsForEverySession(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].InitQuery = "set work_mem = '7MB'; select set_config('app.tenant', 'acme', false); set search_path = public"
	})
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr)+"&work_mem=9MB")
	ask := "select current_setting('work_mem') || ' ' || current_setting('app.tenant')"
	for range 2 {
		if got := value(t, a, ask); got != "7MB acme" {
			t.Error(got)
		}
		if got := value(t, b, ask); got != "9MB acme" {
			t.Error(got)
		}
		exec(t, a, "set work_mem = '8MB'")
		exec(t, a, "reset work_mem")
		exec(t, b, "reset all")
	}
	if st := s.Stats(); st.Open != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAnInitQueryThatFailsIsNamed(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.Clusters["main"].InitQuery = "select no_such()" }))
	_, err := pgx.Connect(testContext(t), url(shared, addr))
	if code(err) != "42883" || !strings.Contains(err.Error(), "init_query") {
		t.Errorf("%v", err)
	}
}

func TestTheServerSaysHowManyConnectionsAPercentIs(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		k := cfg.Clusters["main"]
		k.MaxConnectionsPercent, k.BorrowTimeout = 2, 200*time.Millisecond
	}))
	first := connect(t, url(shared, addr))
	var most int
	if err := first.QueryRow(testContext(t), `select (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int) * 2 / 100`).Scan(&most); err != nil {
		t.Fatal(err)
	}
	if most < 1 {
		t.Fatalf("the test server admits too few connections: 2%% are %d", most)
	}
	exec(t, first, "begin")
	for range most - 1 {
		exec(t, connect(t, url(shared, addr)), "begin")
	}
	if _, err := connect(t, url(shared, addr)).Exec(testContext(t), "begin"); code(err) != "53300" {
		t.Errorf("one more than %d: %v", most, err)
	}
	if st := s.Stats(); st.Open != most {
		t.Errorf("%d are open, not %d", st.Open, most)
	}
}

func TestUsersAndDatabasesHaveBoundsOfTheirOwn(t *testing.T) {
	cfg, err := pgx.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*pooler.Config){
		"user": func(c *pooler.Config) {
			c.Users = map[string]pooler.User{cfg.User: {Password: "x", MaxClients: 1}}
			c.Listeners[0].Login = pooler.LoginTrust
		},
		"database": func(c *pooler.Config) {
			c.Clusters["main"].Databases = map[string]pooler.Database{cfg.Database: {MaxClients: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := start(t, shared, shared.DSN(), plain(change))
			a := connect(t, url(shared, addr))
			if _, err := pgx.Connect(testContext(t), url(shared, addr)); code(err) != "53300" || !strings.Contains(err.Error(), "of "+name) {
				t.Errorf("%v", err)
			}
			_ = a.Close(testContext(t))
			eventually(t, "the client does not leave", func() bool { return s.Stats().Clients == 0 })
			value(t, connect(t, url(shared, addr)), "select 'again'")
		})
	}
}

func TestAQueryThatTakesTooLongIsCanceledAndItsClientStays(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.QueryTimeout = 200 * time.Millisecond }))
	conn := connect(t, url(shared, addr))
	for range 2 {
		if _, err := conn.Exec(testContext(t), "select pg_sleep(3600)"); code(err) != "57014" {
			t.Errorf("%v", err)
		}
		if got := value(t, conn, "select 'served'"); got != "served" {
			t.Error(got)
		}
	}
}

func TestAnIdleTransactionIsRolledBack(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.IdleTransactionTimeout = 300 * time.Millisecond }))
	conn, idle := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, conn, "begin")
	exec(t, conn, "create table public.idle_transaction (x int)")
	if err := conn.PgConn().WaitForNotification(testContext(t)); code(err) != "25P03" {
		t.Errorf("the client is told %v", err)
	}
	if got := value(t, idle, "select coalesce(to_regclass('public.idle_transaction')::text, 'none')"); got != "none" {
		t.Errorf("the transaction left %s", got)
	}
}

func TestADatabaseHasAPoolSizeOfItsOwn(t *testing.T) {
	cfg, err := pgx.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	s, addr := start(t, shared, shared.DSN(), plain(func(c *pooler.Config) {
		k := c.Clusters["main"]
		k.PoolSize, k.BorrowTimeout = 3, 200*time.Millisecond
		k.Databases = map[string]pooler.Database{cfg.Database: {PoolSize: 2}}
	}))
	for range 2 {
		exec(t, connect(t, url(shared, addr)), "begin")
	}
	if _, err := connect(t, url(shared, addr)).Exec(testContext(t), "begin"); code(err) != "53300" {
		t.Errorf("a third connection: %v", err)
	}
	if st := s.Stats(); st.Open != 2 {
		t.Errorf("%d are open", st.Open)
	}
}

func TestIdleConnectionsAreAPercentOfWhatTheServerAdmits(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		k := cfg.Clusters["main"]
		k.MaxConnectionsPercent, k.MaxIdleConnectionsPercent = 20, 2
	}))
	first := connect(t, url(shared, addr))
	var most, all int
	if err := first.QueryRow(testContext(t), `select n * 2 / 100, n * 20 / 100
		from (select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int) as _(n)`).Scan(&most, &all); err != nil {
		t.Fatal(err)
	}
	if most < 1 || most == all {
		t.Fatalf("the test server admits too few connections: 2%% are %d, 20%% %d", most, all)
	}
	busy := make([]*pgx.Conn, most+2)
	for i := range busy {
		busy[i] = connect(t, url(shared, addr))
		exec(t, busy[i], "begin")
	}
	for _, conn := range busy {
		exec(t, conn, "commit")
	}
	eventually(t, "more than 2% stay idle", func() bool { st := s.Stats(); return st.Open == most && st.Idle == most })
}

func TestAFilterSaysThatFunctionsSetNothing(t *testing.T) {
	own := connect(t, shared.AddressDSN())
	exec(t, own, "create or replace function public.opaque() returns text language plpgsql as $$begin return 'set'; end$$")
	for filter, pins := range map[pooler.PinningFilter]int{"": 1, pooler.ExcludeVariableSets: 0} {
		s, addr := start(t, shared, shared.DSN(), plain(func(c *pooler.Config) {
			if filter != "" {
				c.Clusters["main"].PinningFilters = []pooler.PinningFilter{filter}
			}
		}))
		conn := connect(t, url(shared, addr))
		if got := value(t, conn, "select public.opaque()"); got != "set" {
			t.Error(got)
		}
		if st := s.Stats(); st.Pinned != pins {
			t.Errorf("with the filter %q, %d sessions are pinned: %v", filter, st.Pinned, st.Pins)
		}
	}
}

func TestReadersOfAnEndpointAreReplaced(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 2})
	_, addr := start(t, c, c.DSN(), plain(func(cfg *pooler.Config) { cfg.Listeners[0].TargetRole = pooler.ReadOnly }))
	conn := connect(t, url(c, addr))
	const which = "select pg_postmaster_start_time()::text"
	before := value(t, conn, which)
	var lost *rdstest.Instance
	for _, in := range c.Readers() {
		admin, err := c.AdminConn(testContext(t), in)
		if err != nil {
			t.Fatal(err)
		}
		if value(t, admin, which) == before {
			lost = in
		}
		_ = admin.Close(testContext(t))
	}
	if lost == nil {
		t.Fatal("the client is not served by a reader")
	}
	if err := c.Crash(testContext(t), lost); err != nil {
		t.Fatal(err)
	}
	if after := value(t, conn, which); after == before {
		t.Error("the client is served by a reader that is gone")
	}
	if in := value(t, conn, "select pg_is_in_recovery()::text"); in != "true" {
		t.Error("the client is served by the writer")
	}
}
