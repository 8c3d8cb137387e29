package pooler_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// ears has what a client is told unasked, in the order in which it comes.
type ears struct {
	conn    *pgx.Conn
	heard   []*pgconn.Notification
	notices []string
}

func listener(t testing.TB, dsn string, channels ...string) *ears {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	e := &ears{}
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { e.heard = append(e.heard, n) }
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { e.notices = append(e.notices, n.Message) }
	if e.conn, err = pgx.ConnectConfig(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.conn.Close(context.Background()) })
	for _, c := range channels {
		exec(t, e.conn, "listen "+pgx.Identifier{c}.Sanitize())
	}
	return e
}

// wait has the client idle until n notifications have come, and it has been told n notices.
func (e *ears) wait(ctx context.Context, notifications, notices int) error {
	for len(e.heard) < notifications || len(e.notices) < notices {
		if _, err := e.conn.PgConn().ReceiveMessage(ctx); err != nil {
			return fmt.Errorf("%d notifications of %d, %d notices of %d: %w", len(e.heard), notifications, len(e.notices), notices, err)
		}
	}
	return nil
}

// catchUp has the client be told all that has been notified before: another session that listens has it by then.
func (e *ears) catchUp(t testing.TB, dsn string) {
	t.Helper()
	other := listener(t, dsn, "last")
	exec(t, other.conn, "notify last")
	if err := other.wait(testContext(t), 1, 0); err != nil {
		t.Fatal(err)
	}
	exec(t, e.conn, "select 'idle'", pgx.QueryExecModeSimpleProtocol)
}

func payloads(list []*pgconn.Notification) string {
	var all []string
	for _, n := range list {
		all = append(all, n.Payload)
	}
	return strings.Join(all, " ")
}

func notPinned(t testing.TB, s *pooler.Server) {
	t.Helper()
	if st := s.Stats(); st.Pinned != 0 || len(st.Pins) != 0 {
		t.Errorf("%d connections are pinned: %v", st.Pinned, st.Pins)
	}
}

func TestManyListenersShareFewConnections(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize = 2
		c.Clusters["main"].VerifyClean = pooler.VerifyOff
		c.Logger = nil
	})
	dsn := url(shared, addr)
	const listeners, senders, each = 50, 4, 250
	ctx := testContext(t)
	all := make([]*ears, listeners)
	for i := range all {
		all[i] = listener(t, dsn, "many")
	}
	notPinned(t, s)
	var wg sync.WaitGroup
	for i := range senders {
		conn := connect(t, dsn)
		wg.Go(func() {
			for n := range each {
				if _, err := conn.Exec(ctx, "select pg_notify('many', $1)", fmt.Sprintf("%d:%d:%s", i, n, strings.Repeat("x", n))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i, e := range all {
		wg.Go(func() {
			for n := 0; i%5 == 0 && n < 20; n++ { // some have work of their own
				err := pgx.BeginFunc(ctx, e.conn, func(tx pgx.Tx) error {
					before := len(e.heard)
					_, err := tx.Exec(ctx, "select pg_sleep(0.005)")
					if err == nil && len(e.heard) != before {
						err = fmt.Errorf("%d notifications within a transaction", len(e.heard)-before)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
			if err := e.wait(ctx, senders*each, 0); err != nil {
				t.Errorf("listener %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	first := payloads(all[0].heard)
	for i, e := range all {
		next := make([]int, senders)
		for _, n := range e.heard {
			var sender, number int
			if _, err := fmt.Sscanf(n.Payload, "%d:%d:", &sender, &number); err != nil || number != next[sender] {
				t.Fatalf("listener %d: %.20q in the place of number %d", i, n.Payload, next[sender])
			}
			next[sender]++
		}
		if payloads(e.heard) != first {
			t.Errorf("listener %d has another order than the first", i)
		}
		if len(e.notices) > 0 {
			t.Errorf("listener %d is told %q", i, e.notices)
		}
	}
	if st := s.Stats(); st.Listening != 1 || st.Open > 2 || st.Missed != 0 {
		t.Errorf("%+v", st.Connections)
	}
	notPinned(t, s)
}

func TestNothingIsLostWhileASessionBeginsToListen(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize = 3
		c.Logger = nil
	})
	dsn := url(shared, addr)
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	defer stop()
	sender := connect(t, shared.AddressDSN(shared.Writer()))
	sending.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			_, _ = sender.Exec(ctx, fmt.Sprintf("notify counted, '%d'", n))
		}
	})
	const enough = 200
	var wg sync.WaitGroup
	for range 20 {
		e := listener(t, dsn)
		wg.Go(func() {
			for round := range 5 {
				e.heard = nil
				if _, err := e.conn.Exec(ctx, "listen counted"); err != nil {
					t.Error(err)
					return
				}
				if err := e.wait(ctx, enough, 0); err != nil {
					t.Error(err)
					return
				}
				for i, n := range e.heard {
					var first, number int
					_, _ = fmt.Sscan(e.heard[0].Payload, &first)
					_, _ = fmt.Sscan(n.Payload, &number)
					if number != first+i {
						t.Errorf("round %d: number %d comes after %d notifications, the first of which is %d", round, number, i, first)
						return
					}
				}
				if _, err := e.conn.Exec(ctx, "unlisten counted"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestChannelsFollowTransactions(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), nil)
	dsn := url(shared, addr)
	e, other := listener(t, dsn), connect(t, dsn)
	say := func(channels ...string) {
		t.Helper()
		for _, c := range channels {
			exec(t, other, "notify "+pgx.Identifier{c}.Sanitize()+", '"+c+"'")
		}
	}
	expect := func(want string) {
		t.Helper()
		e.catchUp(t, dsn)
		if got := payloads(e.heard); got != want {
			t.Errorf("it was told %q, want %q", got, want)
		}
		e.heard = nil
	}
	exec(t, e.conn, "begin; listen a; rollback")
	exec(t, e.conn, "begin; listen b; savepoint s; listen c; rollback to s; listen d; commit")
	if _, err := e.conn.Exec(testContext(t), "listen e; select 1/0", pgx.QueryExecModeSimpleProtocol); code(err) != "22012" {
		t.Error(err)
	}
	say("a", "b", "c", "d", "e")
	expect("b d")

	exec(t, e.conn, "begin; unlisten b; listen b; unlisten d; rollback")
	say("b", "d")
	expect("b d")
	exec(t, e.conn, "begin; unlisten b; listen b; unlisten d; commit")
	say("b", "d")
	expect("b")
	exec(t, e.conn, "listen b")
	say("b")
	expect("b")

	exec(t, e.conn, `listen "With ""quotes"" and ümlauts, and a name that is cut off: ö, ß"`)
	say(`With "quotes" and ümlauts, and a name that is cut off: ö, ß`)
	expect(`With "quotes" and ümlauts, and a name that is cut off: ö, ß`)
	notPinned(t, s)

	exec(t, e.conn, "set default_transaction_read_only = on; set default_transaction_isolation = serializable", pgx.QueryExecModeSimpleProtocol)
	exec(t, e.conn, "listen read_only")
	say("read_only")
	expect("read_only")

	exec(t, e.conn, "unlisten *")
	say("b")
	expect("")
	exec(t, e.conn, "listen b")
	exec(t, e.conn, "discard all", pgx.QueryExecModeSimpleProtocol)
	say("b")
	expect("")
	notPinned(t, s)
}

func TestNotificationsWaitForTheEndOfATransaction(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Clusters["main"].PoolSize = 2 })
	dsn := url(shared, addr)
	e, left, other, third := listener(t, dsn, "held"), listener(t, dsn, "held"), connect(t, dsn), listener(t, dsn, "held")
	exec(t, e.conn, "begin")
	exec(t, other, "notify held, '1'")
	exec(t, other, "notify held, '2'")
	if err := third.wait(testContext(t), 2, 0); err != nil {
		t.Fatal(err)
	}
	value(t, e.conn, "select 'within'")
	if len(e.heard) != 0 {
		t.Errorf("within a transaction it was told %q", payloads(e.heard))
	}
	exec(t, e.conn, "commit")
	// They came right before the ReadyForQuery: nothing was waited for.
	if got := payloads(e.heard); got != "1 2" {
		t.Errorf("with the commit it was told %q", got)
	}
	if err := left.wait(testContext(t), 2, 0); err != nil {
		t.Error(err)
	}
	// What came in a transaction that leaves the channel is not for it any more.
	left.heard = nil
	exec(t, left.conn, "begin; unlisten held")
	exec(t, other, "notify held, '3'")
	if err := third.wait(testContext(t), 3, 0); err != nil {
		t.Fatal(err)
	}
	exec(t, left.conn, "commit")
	left.catchUp(t, dsn)
	if len(left.heard) != 0 {
		t.Errorf("after UNLISTEN it was told %q", payloads(left.heard))
	}
}

func TestASessionKnowsItsOwnNotifications(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Logger = nil })
	dsn := url(shared, addr)
	all := make([]*ears, 4)
	for i := range all {
		all[i] = listener(t, dsn, "own")
	}
	silent := connect(t, dsn)
	const rounds = 50
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i, e := range all {
		wg.Go(func() {
			for range rounds { // with one connection for all of them
				if _, err := e.conn.Exec(ctx, "select pg_notify('own', $1)", fmt.Sprint(i)); err != nil {
					t.Error(err)
					return
				}
			}
			if err := e.wait(ctx, rounds*(len(all)+1), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			if _, err := silent.Exec(ctx, "notify own, 'somebody'"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	for i, e := range all {
		for _, n := range e.heard {
			if own := n.PID == e.conn.PgConn().PID(); own != (n.Payload == fmt.Sprint(i)) {
				t.Fatalf("client %d, whose process is %d, has a notification of %q from process %d", i, e.conn.PgConn().PID(), n.Payload, n.PID)
			}
		}
	}
}

func TestASlowListenerIsToldWhatItMissed(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize = 2
		c.Clusters["main"].VerifyClean = pooler.VerifyOff
		c.Logger = nil
	})
	dsn := url(shared, addr)
	slow, quick, sender := listener(t, dsn, "much"), listener(t, dsn, "much"), connect(t, dsn)
	exec(t, slow.conn, "begin")
	const n = 200
	ctx := testContext(t)
	for i := range n {
		exec(t, sender, "select pg_notify('much', $1)", fmt.Sprintf("%d %s", i, strings.Repeat("m", 1000)))
	}
	if err := quick.wait(ctx, n, 0); err != nil {
		t.Error(err)
	}
	exec(t, slow.conn, "commit")
	got := len(slow.heard)
	if len(slow.notices) != 1 || !strings.Contains(slow.notices[0], "may have been missed") || got == 0 || got == n {
		t.Errorf("the slow one has %d of %d, and is told %q", got, n, slow.notices)
	}
	for i, h := range slow.heard {
		if !strings.HasPrefix(h.Payload, fmt.Sprintf("%d ", i)) {
			t.Fatalf("%.10q is number %d", h.Payload, i)
		}
	}
	exec(t, sender, "notify much, 'again'")
	if err := slow.wait(ctx, got+1, 0); err != nil || slow.heard[got].Payload != "again" {
		t.Errorf("%v", err)
	}
	if st := s.Stats(); st.Missed != 1 {
		t.Errorf("%d have missed something", st.Missed)
	}
}

// deaf is a client that listens and does not read.
func deaf(t testing.TB, addr net.Addr, channel string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	f := pgproto3.NewFrontend(conn, conn)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"}})
	f.Send(&pgproto3.Query{String: "listen " + channel})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	for ready := 0; ready < 2; {
		msg, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := msg.(*pgproto3.ReadyForQuery); ok {
			ready++
		}
	}
}

func TestAListenerThatDoesNotReadStallsNobody(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].VerifyClean = pooler.VerifyOff
		c.Logger = nil
	})
	dsn := url(shared, addr)
	deaf(t, addr, "flood")
	e, sender := listener(t, dsn, "flood"), connect(t, dsn)
	ctx := testContext(t)
	payload := strings.Repeat("f", 7900)
	n := 0
	for ; s.Stats().Missed == 0; n++ {
		exec(t, sender, "select pg_notify('flood', $1)", fmt.Sprint(n, payload))
		if err := e.wait(ctx, n+1, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d bytes were taken for the one who does not read", n*len(payload))
}

func TestAListeningConnectionIsMadeAgain(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Logger = nil })
	dsn := url(shared, addr)
	idle, busy := listener(t, dsn, "again"), listener(t, dsn, "again", "else")
	exec(t, busy.conn, "begin")
	ctx := testContext(t)
	admin, err := shared.AdminConn(ctx, shared.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	exec(t, admin, "select pg_terminate_backend(pid) from pg_stat_activity where query like '/* fairlead */%' and query not like '%UNLISTEN *' and pid <> pg_backend_pid()")
	if err := idle.wait(ctx, 0, 1); err != nil || !strings.Contains(idle.notices[0], "may have been missed") {
		t.Fatalf("%v, told %q", err, idle.notices)
	}
	exec(t, admin, "notify again, 'yes'")
	if err := idle.wait(ctx, 1, 1); err != nil {
		t.Error(err)
	}
	value(t, busy.conn, "select 'still'")
	if len(busy.notices)+len(busy.heard) != 0 {
		t.Errorf("within a transaction it was told %q, %q", busy.notices, payloads(busy.heard))
	}
	exec(t, busy.conn, "commit")
	if err := busy.wait(ctx, 1, 1); err != nil {
		t.Error(err)
	}
	notPinned(t, s)
}

func TestListenersFollowTheWriter(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	s, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 2
		cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
		cfg.Logger = nil
	})
	dsn := url(c, addr)
	ctx := testContext(t)
	all := make([]*ears, 10)
	for i := range all {
		all[i] = listener(t, dsn, "moved")
	}
	if _, err := c.Failover(ctx); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i, e := range all {
		wg.Go(func() {
			if err := e.wait(ctx, 0, 1); err != nil {
				t.Errorf("listener %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	exec(t, connect(t, dsn), "notify moved, 'here'")
	for i, e := range all {
		if err := e.wait(ctx, 1, 1); err != nil || payloads(e.heard) != "here" || !strings.Contains(e.notices[0], "may have been missed") {
			t.Errorf("listener %d: %v, %q, %q", i, err, payloads(e.heard), e.notices)
		}
	}
	notPinned(t, s)
}

func TestListenersEndWithTheTimeForAFailover(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	_, addr := start(t, c, c.DSN()+"&failover_timeout=1", func(cfg *pooler.Config) { cfg.Logger = nil })
	e := listener(t, url(c, addr), "lost")
	ctx := testContext(t)
	if err := c.Crash(ctx, c.Writer()); err != nil {
		t.Fatal(err)
	}
	if err := e.wait(ctx, 1, 0); code(err) != "57P01" {
		t.Errorf("it is told %v", err)
	}
}

func TestNothingIsLeftOfListeners(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("", func(t *testing.T) {
		s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Logger = nil })
		dsn := url(shared, addr)
		for range 3 {
			e := listener(t, dsn, "passing")
			exec(t, e.conn, "notify passing")
			if err := e.wait(testContext(t), 1, 0); err != nil {
				t.Error(err)
			}
		}
		if n := s.Stats().Listening; n != 1 {
			t.Errorf("%d connections listen", n)
		}
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestWhoReadsInAnotherEncodingIsToldSo(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), nil)
	dsn := url(shared, addr)
	e, sender := listener(t, dsn, "encoded"), connect(t, dsn)
	latin := listener(t, dsn+"&client_encoding=LATIN1", "encoded")
	exec(t, sender, "notify encoded, 'ü'")
	ctx := testContext(t)
	if err := e.wait(ctx, 1, 0); err != nil || payloads(e.heard) != "ü" {
		t.Errorf("%v, %q", err, payloads(e.heard))
	}
	if err := latin.wait(ctx, 1, 0); err != nil || payloads(latin.heard) != "\xfc" {
		t.Errorf("%v, %q", err, payloads(latin.heard))
	}
	exec(t, e.conn, "set client_encoding to latin1")
	if err := e.wait(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	exec(t, sender, "notify encoded, 'ö'")
	if err := e.wait(ctx, 2, 1); err != nil || e.heard[1].Payload != "\xf6" {
		t.Errorf("%v, %q", err, payloads(e.heard))
	}
	if n := s.Stats().Listening; n != 2 {
		t.Errorf("%d connections receive notifications", n)
	}
	notPinned(t, s)
}

func TestAnotherConnectionIsNotAlwaysToBeHad(t *testing.T) {
	ctx := testContext(t)
	admin, err := shared.AdminConn(ctx, shared.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	s, addr := start(t, shared, shared.DSN()+"&connect_timeout=3", func(c *pooler.Config) { c.Clusters["main"].PoolSize = 2 })
	dsn := url(shared, addr)
	e := listener(t, dsn)
	value(t, e.conn, "select 'connected'")
	exec(t, admin, "alter role app connection limit 0")
	defer exec(t, admin, "alter role app connection limit -1")
	exec(t, e.conn, "listen scarce")
	if n := s.Stats().Pins["LISTEN"]; n != 1 {
		t.Errorf("%d are pinned", n)
	}
	exec(t, admin, "notify scarce, 'pinned'")
	if err := e.wait(ctx, 1, 0); err != nil {
		t.Error(err)
	}
	exec(t, admin, "alter role app connection limit -1")
	for s.Stats().Pinned > 0 {
		value(t, e.conn, "select 'once more'")
		time.Sleep(50 * time.Millisecond)
	}
	exec(t, admin, "notify scarce, 'shared'")
	if err := e.wait(ctx, 2, 0); err != nil || payloads(e.heard) != "pinned shared" {
		t.Errorf("%v, %q", err, payloads(e.heard))
	}
}
