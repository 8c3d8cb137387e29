package session

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// sharing is a session that has an upstream for a while.
func sharing(t testing.TB) *Session {
	t.Helper()
	s := New(Full, 0)
	s.Share(1)
	s.Borrow(NewMemory(map[string]string{}, ""), nil)
	s.ShowPID(77)
	s.Took(1000)
	return s
}

// relayed is a session that has given its channels to the pool.
func relayed(t testing.TB, channels ...string) *Session {
	t.Helper()
	s := sharing(t)
	for _, name := range channels {
		client(t, s, query("listen "+name))
		server(t, s, tag("LISTEN"), ready('I'))
	}
	s.Relay()
	s.HandedOver(nil, channels, "marks", "1")
	if s.Listening() {
		t.Fatal("it listens still")
	}
	return s
}

func notification(t testing.TB, pid uint32, channel, payload string) []byte {
	t.Helper()
	b, err := (&pgproto3.NotificationResponse{PID: pid, Channel: channel, Payload: payload}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// given is what a client gets of what its server sends.
func given(s *Session, b []byte) []byte {
	v := s.Server(b)
	return append(s.TakeOut(), b[:v.Deliver]...)
}

func TestChannelsHaveTheNamesThatTheServerGivesThem(t *testing.T) {
	long := strings.Repeat("n", 62)
	for name, want := range map[string]string{
		"short": "short", long + "x": long + "x", long + "xy": long + "x", long + "ö": long, long[:61] + "öx": long[:61] + "ö",
	} {
		if got := channelName(name); got != want {
			t.Errorf("%q is called %q, want %q", name, got, want)
		}
	}
}

func TestUpToTheMarkTheUpstreamIsHeard(t *testing.T) {
	s := relayed(t, "old")
	client(t, s, query("listen new"))
	server(t, s, tag("LISTEN"), ready('I'))
	if got := s.Unrelayed(); !slices.Equal(got, []string{"new"}) {
		t.Fatalf("%q are to be handed over", got)
	}
	s.Relay()
	said := slices.Concat(
		notification(t, 5, "new", "before"), notification(t, 1000, "new", "own"), notification(t, 77, "new", "another 77"), notification(t, 5, "old", "relayed"),
		notification(t, 1000, "marks", "2"), notification(t, 5, "new", "behind"))
	if !s.HandedOver(slices.Clone(said), []string{"new"}, "marks", "2") {
		t.Error("the mark was not found")
	}
	want := slices.Concat(notification(t, 5, "new", "before"), notification(t, 77, "new", "own"), notification(t, 0, "new", "another 77"))
	if got := s.TakeOut(); !bytes.Equal(got, want) {
		t.Errorf("the client is given %q, want %q", got, want)
	}
	if s.HandedOver(slices.Clone(said), []string{"new"}, "marks", "3") {
		t.Error("another mark was taken for it")
	}
}

func TestWhatIsRelayedDoesNotComeTwice(t *testing.T) {
	s := relayed(t, "news")
	client(t, s, query("listen news"))
	b := be(t, tag("LISTEN"))
	b = append(b, notification(t, 5, "news", "twice")...)
	b = append(b, be(t, ready('I'))...)
	if got, want := given(s, b), be(t, tag("LISTEN"), ready('I')); !bytes.Equal(got, want) {
		t.Errorf("the client is given %q, want %q", got, want)
	}
	if !s.Listening() {
		t.Error("the upstream listens, and nobody would tell it not to")
	}
}

func TestWhatWasHeardStandsBeforeTheReadyForQuery(t *testing.T) {
	s := relayed(t, "news")
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	heard := notification(t, 5, "news", "held")
	s.Heard(heard, false)
	if s.HasHeard() {
		t.Error("a client in a transaction would be told")
	}
	client(t, s, query("commit"))
	got := given(s, be(t, tag("COMMIT"), ready('I')))
	if want := slices.Concat(be(t, tag("COMMIT")), heard, be(t, ready('I'))); !bytes.Equal(got, want) {
		t.Errorf("the client is given %q, want %q", got, want)
	}
}

func TestWhatWasHeardStandsBehindALongMessage(t *testing.T) {
	s := relayed(t, "news")
	client(t, s, query("select repeat('x', 2000000)"))
	row := be(t, &pgproto3.DataRow{Values: [][]byte{bytes.Repeat([]byte("x"), 2000)}})
	server(t, s, columns("repeat"))
	if !s.Stream(slices.Clone(row[:1000])) {
		t.Fatal("the row is not streamed")
	}
	heard := notification(t, 5, "news", "held")
	s.Heard(heard, false)
	got := given(s, slices.Concat(row[1000:], be(t, tag("SELECT 1"), ready('I'))))
	if want := slices.Concat(row[1000:], be(t, tag("SELECT 1")), heard, be(t, ready('I'))); !bytes.Equal(got, want) {
		t.Errorf("the client is given %d bytes, the last of them %q, want %d", len(got), got[max(0, len(got)-80):], len(want))
	}
}

func TestTheInboxIsBounded(t *testing.T) {
	s := relayed(t, "news")
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	for i := range 100 {
		s.Heard(notification(t, 5, "news", fmt.Sprint(i, strings.Repeat("p", 4000))), false)
	}
	if n := len(s.inbox); n > inboxLimit+200 || !s.InboxFull() {
		t.Errorf("%d bytes wait", n)
	}
	client(t, s, query("rollback"))
	if out := given(s, be(t, tag("ROLLBACK"), ready('I'))); bytes.Count(out, []byte("may have been missed")) != 1 || !bytes.Contains(out, []byte("news\x000ppp")) {
		t.Error("the client is not told what it has missed")
	}
	last := notification(t, 5, "news", "last")
	s.Heard(last, false)
	if !s.HasHeard() || !bytes.Equal(s.TakeHeard(), last) {
		t.Error("it hears nothing any more")
	}
}
