package pooler_test

import (
	"testing"
)

func TestClientsShareOneConnection(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), nil)
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	pid := value(t, a, "select pg_backend_pid()::text")
	if other := value(t, b, "select pg_backend_pid()::text"); other != pid {
		t.Errorf("two connections to the server: %s and %s", pid, other)
	}
	exec(t, a, "set application_name = 'one'")
	exec(t, b, "set application_name = 'two'")
	exec(t, a, "begin")
	exec(t, a, "set local work_mem = '5MB'")
	exec(t, a, "commit")
	for range 3 {
		if name := value(t, a, "select current_setting('application_name')"); name != "one" {
			t.Errorf("a has the application name %q", name)
		}
		if name := value(t, b, "select current_setting('application_name')"); name != "two" {
			t.Errorf("b has the application name %q", name)
		}
	}
	if st := s.Stats(); st.Open != 1 || st.Clients != 2 {
		t.Errorf("%+v", st)
	}
}
