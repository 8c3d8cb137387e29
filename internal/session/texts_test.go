package session

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// knowsPath reports whether the session knows that search_path was set, or that it does not know what was.
func knowsPath(s *Session) bool {
	_, ok := s.settings.session["search_path"]
	return ok || s.held() != ""
}

func TestAPortalRunsTheTextThatItWasBoundWith(t *testing.T) {
	for name, replace := range map[string][]pgproto3.FrontendMessage{
		"":  {&pgproto3.Parse{Query: "select 1"}},
		"s": {&pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Parse{Name: "s", Query: "select 1"}},
	} {
		s := idle(t)
		client(t, s, &pgproto3.Parse{Name: name, Query: "set search_path = a"}, sync())
		server(t, s, &pgproto3.ParseComplete{}, ready('I'))
		client(t, s, &pgproto3.Bind{PreparedStatement: name})
		client(t, s, replace...)
		client(t, s, &pgproto3.Execute{}, sync())
		server(t, s, &pgproto3.BindComplete{})
		if name != "" {
			server(t, s, &pgproto3.CloseComplete{})
		}
		server(t, s, &pgproto3.ParseComplete{}, tag("SET"), ready('I'))
		if !knowsPath(s) {
			t.Errorf("statement %q: SET went unnoticed, since its name means something else by now", name)
		}
	}
}

func TestAPortalThatIsBoundInPiecesRunsWhatItIsBoundTo(t *testing.T) {
	s := idle(t)
	client(t, s, &pgproto3.Parse{Name: "harmless", Query: "select 1, $1::text"},
		&pgproto3.Parse{Name: "sets", Query: "select set_config('search_path', 'a', false), $1::text"}, sync())
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.ParseComplete{}, ready('I'))
	client(t, s, &pgproto3.Bind{PreparedStatement: "harmless"}, &pgproto3.Execute{})
	b := fe(t, &pgproto3.Bind{PreparedStatement: "sets", Parameters: [][]byte{[]byte(strings.Repeat("x", 2*streamFrom))}})
	for _, piece := range [][]byte{b[:streamFrom+1], b[streamFrom+1:]} {
		s.Client(piece)
		s.Sent()
	}
	client(t, s, &pgproto3.Execute{}, sync())
	server(t, s, &pgproto3.BindComplete{}, tag("SELECT 1"), &pgproto3.BindComplete{}, tag("SELECT 1"), ready('I'))
	if !knowsPath(s) {
		t.Error("set_config went unnoticed: the portal was taken for the one before it")
	}
}

// What is not in the journal any more when its answer comes is known all the same.
func TestTheJournalsEndIsNotThatOfWhatItSays(t *testing.T) {
	s := New(Full, 300)
	s.Adopt(map[string]string{"standard_conforming_strings": "on"})
	client(t, s, batch("set search_path = a", "savepoint b")...)
	client(t, s, &pgproto3.Close{ObjectType: 'S', Name: "gone"})
	client(t, s, query("select '"+strings.Repeat("x", 400)+"'; set work_mem = '2MB'"))
	if !s.truncated {
		t.Fatal("the journal has it")
	}
	server(t, s, ran("SET")...)
	server(t, s, ran("SAVEPOINT")...)
	server(t, s, &pgproto3.CloseComplete{})
	server(t, s, tag("SELECT 1"), tag("SET"), ready('I'))
	if path, mem := s.settings.session["search_path"], s.settings.session["work_mem"]; path == "" || mem == "" || s.held() != "" || s.confused {
		t.Errorf("search_path %q, work_mem %q, held %q, confused %t", path, mem, s.held(), s.confused)
	}
}
