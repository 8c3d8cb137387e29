package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// walk adds up what the session keeps, one by one.
func walk(s *Session) int {
	n := len(s.statements.unnamed) + len(s.journal) + len(s.tail) + len(s.out) + len(s.inbox) + len(s.outstanding())*opCost + len(s.onTheWay.names)*nameCost
	for _, list := range []map[string]*Statement{s.statements.named, s.statements.gone} {
		for _, st := range list {
			n += st.cost()
		}
	}
	for name, sql := range s.settings.session {
		n += settingKept(name, sql)
	}
	for i := range s.settings.pending {
		n += s.settings.pending[i].cost()
	}
	for name := range s.settings.channels {
		n += len(name) + channelCost
	}
	for name := range s.parses {
		n += len(name) + nameCost
	}
	for name := range s.portals {
		n += len(name) + nameCost
	}
	for name := range s.naming {
		n += len(name) + nameCost
	}
	for i := range s.asides {
		n += s.asides[i].cost()
	}
	return n
}

func checkAccount(t testing.TB, s *Session, when string) {
	t.Helper()
	if kept, want := s.Kept(), walk(s); kept != want {
		t.Fatalf("%s: %d bytes are kept, and %d are accounted for", when, want, kept)
	}
}

func TestTheAccountIsThatOfWhatIsKept(t *testing.T) {
	s := New(Full, 600)
	s.Adopt(map[string]string{"standard_conforming_strings": "on"})
	long := strings.Repeat("x", 300)
	for _, sql := range []struct{ text, tag string }{
		{"set app.a = '1'", "SET"}, {"set app.a = '22'", "SET"}, {"set search_path = a", "SET"}, {"reset app.a", "RESET"}, {"listen a", "LISTEN"},
		{"listen b", "LISTEN"}, {"unlisten a", "UNLISTEN"}, {"prepare p as select 1", "PREPARE"}, {"select '" + long + long + "'", "SELECT 1"},
		{"deallocate p", "DEALLOCATE"}, {"set app.long = '" + long + long + "'", "SET"}, {"reset all", "RESET"}, {"set a.b = 1", "SET"}, {"discard all", "DISCARD ALL"},
	} {
		client(t, s, query(sql.text))
		checkAccount(t, s, "sent: "+sql.text)
		server(t, s, tag(sql.tag), ready('I'))
		checkAccount(t, s, "answered: "+sql.text)
	}
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	for _, sql := range []struct{ text, tag string }{
		{"savepoint a", "SAVEPOINT"}, {"set app.a = 1", "SET"}, {"savepoint b", "SAVEPOINT"}, {"set local app.b = 1", "SET"}, {"rollback to b", "ROLLBACK"},
		{"release a", "RELEASE"}, {"set app.c = 1", "SET"},
	} {
		client(t, s, query(sql.text))
		server(t, s, tag(sql.tag), ready('T'))
		checkAccount(t, s, sql.text)
	}
	client(t, s, query("commit"))
	server(t, s, tag("COMMIT"), ready('I'))
	checkAccount(t, s, "commit")
	for i := range 5 {
		client(t, s, &pgproto3.Parse{Name: fmt.Sprint("s", i%3), Query: "select '" + long + "'"}, &pgproto3.Bind{DestinationPortal: fmt.Sprint(i), PreparedStatement: fmt.Sprint("s", i%3)},
			&pgproto3.Close{ObjectType: 'S', Name: fmt.Sprint("s", i%2)}, sync())
		checkAccount(t, s, "a segment is sent")
		server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{})
		checkAccount(t, s, "half of it is answered")
		if i == 3 {
			s.Lost("gone")
			s.TakeOut()
			s.Attached(nil, 2)
			checkAccount(t, s, "the upstream is lost")
			continue
		}
		server(t, s, &pgproto3.CloseComplete{}, ready('I'))
		checkAccount(t, s, "it is answered")
	}
	if s.Kept() == 0 {
		t.Error("nothing is kept")
	}
}

// A server that sends without end, or what nobody can hold, is not one.
func TestAServerIsNotKeptWithoutBounds(t *testing.T) {
	s := idle(t)
	event := None
	for i := 0; i < 10_000 && event == None; i++ {
		_, event = server(t, s, &pgproto3.ParameterStatus{Name: fmt.Sprint("p", i), Value: "x"})
	}
	if event != Broken || s.BrokenBy() == "" {
		t.Errorf("after many parameters: event %v, %q", event, s.BrokenBy())
	}
	s = idle(t)
	event = None
	for i := 0; i < 10_000 && event == None; i++ {
		_, event = server(t, s, &pgproto3.ParameterStatus{Name: fmt.Sprint("p", i%10), Value: strings.Repeat("x", 100_000)})
	}
	if event != Broken {
		t.Errorf("after large parameters: event %v", event)
	}
	for kind, want := range map[byte]Event{'E': Broken, 'N': Broken, 'A': Broken, 'T': Broken, 'D': None, 'd': None} {
		s := idle(t)
		client(t, s, query("select 1"))
		if v := s.Server([]byte{kind, 0x10, 0, 0, 0, 0, 0}); v.Event != want {
			t.Errorf("a message %q of 256 MB: event %v, want %v", kind, v.Event, want)
		}
	}
}
