package session

import (
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// Setting is a run-time parameter with the SQL that sets it.
type Setting struct{ Name, SQL string }

// SettingsOf are those that SQL leaves behind in a session, in their order: what SET and SELECT set_config do in plain sight.
func SettingsOf(sql string) (list []Setting) {
	s := New(Full, 0)
	statements, err := sqltext.Split(sql, s.options())
	if err != nil {
		return nil // the server says what is wrong with it
	}
	for _, st := range statements {
		s.set(st.Text)
		if sqltext.Classify(st.Text, s.options()) == sqltext.Select {
			s.setConfig(wire.Query, st.Text, []byte("SELECT 1"))
		}
	}
	s.settings.commit()
	for _, name := range s.settings.order {
		list = append(list, Setting{name, s.settings.session[name]})
	}
	return list
}

// SetBase notes a setting that the session was started with; RESET goes back to it.
func (s *Session) SetBase(name, sql string) {
	t := &s.settings
	if t.base == nil {
		t.base = make(map[string]string)
	}
	t.base[name] = sql
	t.set(name, sql)
}
