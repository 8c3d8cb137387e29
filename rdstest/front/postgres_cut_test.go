package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// postgresFront is a front for the real server.
func postgresFront(t testing.TB, change ...func(*front.Config)) *front.Front {
	t.Helper()
	return listen(t, "unix", startPostgres(t)+"/.s.PGSQL.5432", change...)
}

func background(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// connect logs in through f; params are more of the DSN.
func connect(t testing.TB, f *front.Front, params string) *pgconn.PgConn {
	t.Helper()
	conn, err := tryConnect(t, f, params)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func tryConnect(t testing.TB, f *front.Front, params string) (*pgconn.PgConn, error) {
	t.Helper()
	return connectBy(t, f, params, (&net.Dialer{}).DialContext)
}

// connectWithoutCancel is connect for a connection that cancels nothing: when it ends in the midst of a statement, pgx asks over
// another one for the statement to be canceled, and that may come in time.
func connectWithoutCancel(t testing.TB, f *front.Front, params string) *pgconn.PgConn {
	t.Helper()
	var dialed atomic.Bool
	conn, err := connectBy(t, f, params, func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, errors.New("one connection is enough")
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func connectBy(t testing.TB, f *front.Front, params string, dial pgconn.DialFunc) (*pgconn.PgConn, error) {
	t.Helper()
	addr := f.Addr().(*net.TCPAddr)
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres database=postgres %s", addr.Port, params)
	if !strings.Contains(params, "sslmode") {
		dsn += " sslmode=disable"
	}
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc = dial
	conn, err := pgconn.ConnectConfig(background(t), cfg)
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = conn.Close(ctx)
		})
	}
	return conn, err
}

// aside runs SQL on a connection of its own, past all fronts, and gives the first column.
func aside(t testing.TB, sql string) []string {
	t.Helper()
	ctx := background(t)
	conn, err := pgconn.Connect(ctx, "host="+startPostgres(t)+" user=postgres database=postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var column []string
	for _, row := range results[len(results)-1].Rows {
		column = append(column, string(row[0]))
	}
	return column
}

// table makes an empty table of integers for one test.
func table(t testing.TB) string {
	t.Helper()
	name := "t_" + strings.ToLower(strings.NewReplacer("/", "_", "#", "_").Replace(t.Name()))
	aside(t, fmt.Sprintf("DROP TABLE IF EXISTS %s; CREATE TABLE %[1]s (n int)", name))
	return name
}

// rows waits until no backend but the one that asks is left, and gives what the table holds.
func rows(t testing.TB, name string, pid uint32) string {
	t.Helper()
	eventually(t, "the server's process ends", func() bool {
		return aside(t, fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE pid = %d", pid))[0] == "0"
	})
	return strings.Join(aside(t, "SELECT n FROM "+name+" ORDER BY n"), " ")
}

func ofType(types string) func(front.Message) bool {
	return func(m front.Message) bool { return m.Type != 0 && strings.IndexByte(types, m.Type) >= 0 }
}

func fired(t testing.TB, p *front.Pending) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatal("the cut did not fire")
	}
	if p.Stop() {
		t.Error("Stop() = true for a cut that has fired")
	}
}

func TestCutOfTheClientsMessage(t *testing.T) {
	for _, when := range []front.Moment{front.Before, front.After} {
		for _, how := range []front.Manner{front.ResetBoth, front.CloseBoth, front.Silent} {
			for _, encrypted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/%s/%t", when, how, encrypted), func(t *testing.T) {
					f, params := postgresFront(t), ""
					if encrypted {
						f, params = secureFront(t)
					}
					name := table(t)
					conn := connectWithoutCancel(t, f, params)
					p := f.Cut(front.Cut{From: front.Client, When: when, How: how, Match: func(m front.Message) bool {
						return m.Type == 'Q' && strings.Contains(string(m.Body), "(2)")
					}})
					ctx := background(t)
					insert := "INSERT INTO " + name + " VALUES "
					if err := conn.Exec(ctx, insert+"(1)").Close(); err != nil {
						t.Fatal(err)
					}
					if how == front.Silent {
						short, cancel := context.WithTimeout(ctx, 2*quiet)
						defer cancel()
						ctx = short
					}
					err := conn.Exec(ctx, insert+"(2)").Close()
					want := map[front.Manner]error{front.ResetBoth: syscall.ECONNRESET, front.CloseBoth: io.ErrUnexpectedEOF,
						front.Silent: context.DeadlineExceeded}[how]
					if !errors.Is(err, want) {
						t.Errorf("INSERT: %v, want %v", err, want)
					}
					fired(t, p)
					if how == front.Silent {
						f.Pass()
					}
					wantRows := map[front.Moment]string{front.Before: "1", front.After: "1 2"}[when]
					if got := rows(t, name, conn.PID()); got != wantRows {
						t.Errorf("rows %q, want %q", got, wantRows)
					}
					eventually(t, "all connections end", func() bool { return f.Conns() == 0 })
				})
			}
		}
	}
}

// The message is still unread in the server's kernel when the cut falls, and the statement before it takes its time: a
// reset would end it there.
func TestCutBehindAMessageThatTheServerHasNotBegun(t *testing.T) {
	f := postgresFront(t)
	name := table(t)
	conn := connect(t, f, "")
	p := f.Cut(front.Cut{From: front.Client, N: 3, When: front.After, Match: ofType("Q")})
	h := hijack(t, conn)
	h.send(&pgproto3.Query{String: "SELECT generate_series(1, 10000) FROM pg_sleep(0.3)"},
		&pgproto3.Query{String: "SELECT pg_sleep(0.1)"},
		&pgproto3.Query{String: "INSERT INTO " + name + " VALUES (1)"},
		&pgproto3.Query{String: "INSERT INTO " + name + " VALUES (2)"})
	fired(t, p)
	if got := rows(t, name, conn.PID()); got != "1" {
		t.Errorf("rows %q, want %q", got, "1")
	}
}

func TestCutInsideOneWriteOfManyMessages(t *testing.T) {
	for when, want := range map[front.Moment]string{front.Before: "1", front.After: "1 2"} {
		for _, match := range []func(front.Message) bool{ofType("S"), nil} {
			t.Run(fmt.Sprintf("%d/%t", when, match != nil), func(t *testing.T) {
				f := postgresFront(t)
				name := table(t)
				conn := connect(t, f, "")
				h := hijack(t, conn)
				n := 2
				if match == nil {
					n = 8
				}
				p := f.Cut(front.Cut{From: front.Client, N: n, When: when, Match: match})
				var messages []pgproto3.FrontendMessage
				for i := range 4 {
					messages = append(messages,
						&pgproto3.Parse{Query: fmt.Sprintf("INSERT INTO %s VALUES (%d)", name, i+1)},
						&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
				}
				h.send(messages...)
				fired(t, p)
				if got := rows(t, name, conn.PID()); got != want {
					t.Errorf("rows %q, want %q", got, want)
				}
			})
		}
	}
}

func TestCutOfTheServersMessage(t *testing.T) {
	const query = "SELECT repeat('x', 500000)"
	cases := []struct {
		types string
		n     int
		when  front.Moment
		want  string // the types that arrive
	}{
		{"", 1, front.Before, ""},
		{"", 2, front.After, "TD"},
		{"D", 1, front.Before, "T"},
		{"D", 1, front.After, "TD"},
		{"C", 1, front.Before, "TD"},
		{"C", 1, front.After, "TDC"},
		{"Z", 1, front.After, "TDCZ"},
		{"D", 2, front.After, "TDCZTD"},
	}
	for _, c := range cases {
		for _, how := range []front.Manner{front.ResetBoth, front.CloseBoth, front.Silent} {
			for _, encrypted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s%d/%d/%s/%t", c.types, c.n, c.when, how, encrypted), func(t *testing.T) {
					f, params := postgresFront(t), ""
					if encrypted {
						f, params = secureFront(t)
					}
					conn := connect(t, f, params)
					h := hijack(t, conn)
					cut := front.Cut{From: front.Server, N: c.n, When: c.when, How: how}
					if c.types != "" {
						cut.Match = ofType(c.types)
					}
					p := f.Cut(cut)
					h.send(&pgproto3.Query{String: query}, &pgproto3.Query{String: query})
					// The client reads only when all is over, as far as it can be before the client has read anything.
					select {
					case <-p.Done():
					case <-time.After(quiet):
					}
					got, err := h.receiveAll(len(c.want), how == front.Silent)
					if got != c.want {
						t.Errorf("received %q, want %q", got, c.want)
					}
					want := map[front.Manner]error{front.ResetBoth: syscall.ECONNRESET, front.CloseBoth: io.ErrUnexpectedEOF}[how]
					if how == front.Silent {
						if netErr, ok := errors.AsType[net.Error](err); !ok || !netErr.Timeout() {
							t.Errorf("the end: %v, want a timeout", err)
						}
					} else if !errors.Is(err, want) {
						t.Errorf("the end: %v, want %v", err, want)
					}
					fired(t, p)
					if n := f.Conns(); n != 0 && how != front.Silent {
						t.Errorf("Conns() = %d, want 0", n)
					}
				})
			}
		}
	}
}

func TestCutInTheStartup(t *testing.T) {
	cases := map[string]struct {
		cut    front.Cut
		params string
	}{
		"StartupMessage":           {front.Cut{From: front.Client}, ""},
		"SSLRequest":               {front.Cut{From: front.Client}, "sslmode=prefer"},
		"SSLRequest/After":         {front.Cut{From: front.Client, When: front.After}, "sslmode=prefer"},
		"StartupMessage after SSL": {front.Cut{From: front.Client, N: 2}, "sslmode=prefer"},
		"authentication":           {front.Cut{From: front.Server}, ""},
		"ReadyForQuery":            {front.Cut{From: front.Server, Match: ofType("Z")}, ""},
	}
	for name, c := range cases {
		for _, how := range []front.Manner{front.ResetBoth, front.CloseBoth, front.Silent} {
			t.Run(name+"/"+how.String(), func(t *testing.T) {
				f := postgresFront(t)
				c.cut.How = how
				p := f.Cut(c.cut)
				ctx, cancel := context.WithTimeout(background(t), 3*quiet)
				defer cancel()
				port := f.Addr().(*net.TCPAddr).Port
				params := c.params
				if params == "" {
					params = "sslmode=disable"
				}
				conn, err := pgconn.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d user=postgres database=postgres %s", port, params))
				// With sslmode=prefer pgx comes back without TLS.
				if err == nil {
					if c.params == "" {
						t.Error("connected")
					}
					_ = conn.Close(ctx)
				}
				fired(t, p)
				f.Pass()
				connect(t, f, c.params)
			})
		}
	}
}

func TestRequestThatWasNotAnsweredIsResetByPass(t *testing.T) {
	for _, when := range []front.Moment{front.Before, front.After} {
		f := postgresFront(t)
		p := f.Cut(front.Cut{From: front.Client, When: when, How: front.Silent})
		conn := dial(t, f)
		send(t, conn, "\x00\x00\x00\x08\x04\xd2\x16\x2f")
		fired(t, p)
		hearNothing(t, conn)
		f.Pass()
		hearReset(t, conn)
	}
}

func TestMessagesAreCountedOnEachConnection(t *testing.T) {
	f := postgresFront(t)
	one, two := connect(t, f, ""), connect(t, f, "")
	p := f.Cut(front.Cut{From: front.Client, N: 3, Match: ofType("Q")})
	for _, conn := range []*pgconn.PgConn{one, two, one, two} {
		if err := conn.Exec(background(t), "SELECT 1").Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Exec(background(t), "SELECT 1").Close(); err == nil {
		t.Error("the third query of a connection went through")
	}
	fired(t, p)
	if err := one.Exec(background(t), "SELECT 1").Close(); err != nil {
		t.Errorf("a cut fired twice: %v", err)
	}
}

func TestAServerHearsNothingOfAResetOfItsClientAlone(t *testing.T) {
	for _, from := range []front.Side{front.Client, front.Server} {
		f := postgresFront(t)
		conn := connect(t, f, "")
		if _, err := conn.Exec(background(t), "begin").ReadAll(); err != nil {
			t.Fatal(err)
		}
		pending := f.Cut(front.Cut{From: from, When: front.After, How: front.ResetClient})
		if err := conn.Exec(background(t), "select 1").Close(); err == nil {
			t.Errorf("cut at the %v's message: the client hears nothing", from)
		}
		fired(t, pending)
		open := fmt.Sprintf("select count(*) from pg_stat_activity where pid = %d and state = 'idle in transaction'", conn.PID())
		eventually(t, "the server's process waits in its transaction", func() bool { return aside(t, open)[0] == "1" })
		f.Pass()
		eventually(t, "the end of the server's process", func() bool { return aside(t, open)[0] == "0" })
	}
}

func TestCutCanBeOfAConnectionThatWasRecognised(t *testing.T) {
	f := postgresFront(t)
	other, conn := connect(t, f, ""), connect(t, f, "")
	var chosen atomic.Int64
	f.Cut(front.Cut{Match: func(m front.Message) bool {
		if strings.Contains(string(m.Body), "select 'this one'") {
			chosen.Store(int64(m.Conn))
		}
		return false
	}})
	pending := f.Cut(front.Cut{From: front.Server, Match: func(m front.Message) bool {
		return m.Type == 'C' && int64(m.Conn) == chosen.Load() && string(m.Body[:4]) == "SHOW"
	}})
	if _, err := conn.Exec(background(t), "select 'this one'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(background(t), "show work_mem").ReadAll(); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	if _, err := conn.Exec(background(t), "show work_mem").ReadAll(); err == nil {
		t.Error("the connection was not cut")
	}
	fired(t, pending)
}

func TestCutThatIsTakenBackDoesNotFire(t *testing.T) {
	f := postgresFront(t)
	conn := connect(t, f, "")
	stopped := f.Cut(front.Cut{From: front.Client})
	if !stopped.Stop() {
		t.Error("Stop() = false for a cut that has not fired")
	}
	passed := []*front.Pending{f.Cut(front.Cut{From: front.Client}), f.Cut(front.Cut{From: front.Server})}
	f.Pass()
	if err := conn.Exec(background(t), "SELECT 1").Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range append(passed, stopped) {
		select {
		case <-p.Done():
			t.Error("it fired")
		default:
		}
	}
}

// hijacked is a logged-in connection of which the test sends and reads the messages itself.
type hijacked struct {
	t    testing.TB
	conn net.Conn
	fe   *pgproto3.Frontend
}

func hijack(t testing.TB, conn *pgconn.PgConn) *hijacked {
	t.Helper()
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Conn.Close() })
	_ = h.Conn.SetDeadline(time.Now().Add(patience))
	return &hijacked{t: t, conn: h.Conn, fe: pgproto3.NewFrontend(h.Conn, h.Conn)}
}

// send puts all messages into one write.
func (h *hijacked) send(messages ...pgproto3.FrontendMessage) {
	h.t.Helper()
	var buf []byte
	for _, m := range messages {
		var err error
		if buf, err = m.Encode(buf); err != nil {
			h.t.Fatal(err)
		}
	}
	if _, err := h.conn.Write(buf); err != nil {
		h.t.Fatal(err)
	}
}

// receiveAll gives the types of the messages that come before the connection ends. If it does not end but is silent at
// last, that is after expected messages.
func (h *hijacked) receiveAll(expected int, silent bool) (string, error) {
	var types []byte
	for {
		wait := patience
		if silent && len(types) >= expected {
			wait = quiet
		}
		_ = h.conn.SetReadDeadline(time.Now().Add(wait))
		m, err := h.fe.Receive()
		if err != nil {
			return string(types), err
		}
		switch m.(type) {
		case *pgproto3.RowDescription:
			types = append(types, 'T')
		case *pgproto3.DataRow:
			types = append(types, 'D')
		case *pgproto3.CommandComplete:
			types = append(types, 'C')
		case *pgproto3.ReadyForQuery:
			types = append(types, 'Z')
		default:
			types = append(types, '?')
		}
	}
}
