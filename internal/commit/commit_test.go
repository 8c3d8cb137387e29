package commit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/topology"
)

func TestRule(t *testing.T) {
	evidence := Evidence{Mode: LSN, Answered: true, XID: 700, LSN: 1000, Timeline: 3, System: "77", Boot: "10.20"}
	promoted := topology.Reign{SystemID: "77", Timeline: 4, Boot: "11.21", Origin: topology.OriginPromoted, Before: "10.20", End: 2000}
	recovered := topology.Reign{SystemID: "77", Timeline: 3, Boot: "10.22", Origin: topology.OriginRecovered, Before: "10.20", End: 2000}
	restarted := topology.Reign{SystemID: "77", Timeline: 3, Boot: "12.20", Origin: topology.OriginRestarted, Before: "10.20"}
	same := topology.Reign{SystemID: "77", Timeline: 3, Boot: "10.20"}
	e := func(change func(*Evidence)) Evidence { e := evidence; change(&e); return e }
	r := func(r topology.Reign, change func(*topology.Reign)) topology.Reign { change(&r); return r }
	for _, tc := range []struct {
		name  string
		e     Evidence
		reign topology.Reign
		want  ruling
	}{
		{"promoted, the position reached", evidence, promoted, asked},
		{"promoted, the position not reached", e(func(e *Evidence) { e.LSN = 2001 }), promoted, lost},
		{"promoted, all before the commit reached and no more", e(func(e *Evidence) { e.LSN = 2000 }), promoted, lost},
		{"promoted, one before the end", e(func(e *Evidence) { e.LSN = 1999 }), promoted, asked},
		{"promoted, but from another run of the writer before", evidence, r(promoted, func(r *topology.Reign) { r.Before = "10.19" }), undecidable},
		{"promoted, after a recovery that nobody saw", evidence, r(promoted, func(r *topology.Reign) { r.Before = "" }), undecidable},
		{"promoted, two timelines on", evidence, r(promoted, func(r *topology.Reign) { r.Timeline = 5 }), undecidable},
		{"promoted, on the same timeline", evidence, r(promoted, func(r *topology.Reign) { r.Timeline = 3 }), undecidable},
		{"promoted, the end not known", evidence, r(promoted, func(r *topology.Reign) { r.End = 0 }), undecidable},
		{"recovered, the position reached", evidence, recovered, asked},
		{"recovered, the position not reached", e(func(e *Evidence) { e.LSN = 2000 }), recovered, lost},
		{"recovered, but from another run", evidence, r(recovered, func(r *topology.Reign) { r.Before = "10.19" }), undecidable},
		{"recovered, on another timeline", evidence, r(recovered, func(r *topology.Reign) { r.Timeline = 4 }), undecidable},
		{"recovered, the end not known", evidence, r(recovered, func(r *topology.Reign) { r.End = 0 }), undecidable},
		{"restarted", e(func(e *Evidence) { e.LSN = 9999 }), restarted, asked},
		{"restarted, but another run", evidence, r(restarted, func(r *topology.Reign) { r.Before = "10.19" }), undecidable},
		{"restarted, on another timeline", evidence, r(restarted, func(r *topology.Reign) { r.Timeline = 4 }), undecidable},
		{"not observed", evidence, r(promoted, func(r *topology.Reign) { r.Origin = topology.OriginUnknown }), undecidable},
		{"nothing observed at all", evidence, topology.Reign{}, undecidable},
		{"the server never stopped", e(func(e *Evidence) { e.LSN = 9999 }), same, asked},
		{"the same boot on another timeline", evidence, r(same, func(r *topology.Reign) { r.Timeline = 4 }), undecidable},
		{"another system", evidence, r(same, func(r *topology.Reign) { r.SystemID = "78" }), undecidable},
		{"a system that is not known", evidence, r(same, func(r *topology.Reign) { r.SystemID = "" }), undecidable},
		{"another system, promoted", evidence, r(promoted, func(r *topology.Reign) { r.SystemID = "78" }), undecidable},
		{"not answered", e(func(e *Evidence) { e.Answered = false }), same, undecidable},
		{"no transaction id", e(func(e *Evidence) { e.XID = 0 }), same, undecidable},
		{"half a boot", e(func(e *Evidence) { e.Boot = "10." }), r(same, func(r *topology.Reign) { r.Boot = "10." }), undecidable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := rule(&tc.e, &tc.reign); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

func TestReadAnswer(t *testing.T) {
	for _, tc := range []struct {
		mode Mode
		text string
		want Evidence
		ok   bool
	}{
		{Marker, "marked 0", Evidence{Marked: true}, true},
		{Marker, "marked 4294967999", Evidence{Marked: true, XID: 4294967999}, true},
		{Marker, "readonly 12", Evidence{XID: 12}, true},
		{Marker, "marked", Evidence{}, false},
		{Marker, "marked x", Evidence{}, false},
		{Marker, "", Evidence{}, false},
		{Marker, "aborted 1", Evidence{}, false},
		{LSN, "733 16/B374D848 0000000B0000001600000003 77 10.20", Evidence{XID: 733, LSN: 0x16B374D848, Timeline: 11, System: "77", Boot: "10.20"}, true},
		{LSN, "none 0/3000B38 000000010000000000000003 77 10.20", Evidence{LSN: 0x3000B38, Timeline: 1, System: "77", Boot: "10.20"}, true},
		{LSN, "none,serializable 0/3000B38 000000010000000000000003 77 10.20", Evidence{LSN: 0x3000B38, Timeline: 1, System: "77", Boot: "10.20", Serializable: true}, true},
		{LSN, "none, 0/3000B38 000000010000000000000003 77 10.20", Evidence{}, false},
		{LSN, "733 16/B374D848 0000000B0000001600000003", Evidence{}, false},
		{LSN, "recovery", Evidence{}, true},
		{LSN, "733 16/B374D848 0000000B0000001600000003 77", Evidence{}, false},
		{LSN, "733 16/B374D848 0000000B0000001600000003 77 10.20 x", Evidence{}, false},
		{LSN, "x 16/B374D848 0000000B0000001600000003 77 10.20", Evidence{}, false},
		{LSN, "733 16B374D848 0000000B0000001600000003 77 10.20", Evidence{}, false},
		{LSN, "733 16/B374D848 000000000000001600000003 77 10.20", Evidence{}, false},
		{LSN, "733 16/B374D848 B 77 10.20", Evidence{}, false},
		{LSN, "733 16/B374D848 0000000B0000001600000003  10.20", Evidence{}, false},
		{LSN, "733 16/B374D848 0000000B0000001600000003 77 10.", Evidence{}, false},
		{LSN, "", Evidence{}, false},
		{Off, "x", Evidence{}, false},
	} {
		var e Evidence
		err := ReadAnswer(tc.mode, [][]byte{[]byte(tc.text)}, &e)
		if (err == nil) != tc.ok {
			t.Errorf("%v %q: %v", tc.mode, tc.text, err)
			continue
		}
		if !tc.ok {
			if e.Answered {
				t.Errorf("%v %q counts as an answer", tc.mode, tc.text)
			}
			continue
		}
		tc.want.Mode, tc.want.Answered = tc.mode, true
		if e != tc.want {
			t.Errorf("%v %q: %+v", tc.mode, tc.text, e)
		}
	}
	for _, values := range [][][]byte{nil, {nil}, {[]byte("marked 1"), nil}} {
		var e Evidence
		if err := ReadAnswer(Marker, values, &e); err == nil || e.Answered {
			t.Errorf("%q is taken", values)
		}
	}
}

func TestWhichServerItIsNeedsToBeToldOnlyOnce(t *testing.T) {
	e := Evidence{System: "77", Boot: "10.20"}
	if err := ReadAnswer(LSN, [][]byte{[]byte("733 16/B374D848 0000000B0000001600000003")}, &e); err != nil {
		t.Fatal(err)
	}
	if want := (Evidence{Mode: LSN, Answered: true, XID: 733, LSN: 0x16B374D848, Timeline: 11, System: "77", Boot: "10.20"}); e != want {
		t.Errorf("%+v", e)
	}
}

func TestReadingAnAnswerAllocatesNothing(t *testing.T) {
	for mode, text := range map[Mode]string{Marker: "marked 4294967999", LSN: "4294967999 16/B374D848 0000000B0000001600000003"} {
		e := Evidence{System: "7711844683859177485", Boot: "1795553764790334.1795553764847407"}
		values := [][]byte{[]byte(text)}
		if n := testing.AllocsPerRun(100, func() {
			if err := ReadAnswer(mode, values, &e); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v: %v allocations", mode, n)
		}
	}
}

func TestAKeysParameters(t *testing.T) {
	k := Key{Seq: 1<<63 - 1, Settled: 12}
	for i := range k.Session {
		k.Session[i] = byte(i * 17)
	}
	got := fmt.Sprintf("%s", k.Params())
	if want := "[00112233-4455-6677-8899-aabbccddeeff 9223372036854775807 12]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]Setting{"": SettingAuto, "auto": SettingAuto, "marker": SettingMarker, "lsn": SettingLSN, "off": SettingOff} {
		if s, err := ParseSetting(text); s != want || err != nil {
			t.Errorf("%q: %q, %v", text, s, err)
		}
	}
	if _, err := ParseSetting("on"); err == nil {
		t.Error("a setting that does not exist is taken")
	}
	if _, err := Check(t.Context(), script{}, "on"); err == nil {
		t.Error("a setting that does not exist is checked")
	}
}

func TestASettingThatDoesNotWorkSaysWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		setting Setting
		err     error
		advice  string // "": the error may pass
	}{
		{SettingMarker, &pgconn.PgError{Code: "42883"}, "fairlead commits-table"},
		{SettingLSN, &pgconn.PgError{Code: "0A000"}, "commit_resolution=marker"},
		{SettingMarker, &pgconn.PgError{Code: "57P01"}, ""},
		{SettingLSN, net.ErrClosed, ""},
	} {
		_, err := Check(t.Context(), script{"fairlead.mark(": tc.err, "pg_current_wal_insert_lsn": tc.err, "rollback": ""}, tc.setting)
		unusable := (*UnusableError)(nil)
		if errors.As(err, &unusable) != (tc.advice != "") || !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.advice) {
			t.Errorf("%s, %v: %v", tc.setting, tc.err, err)
		}
	}
}

// script answers queries by what they contain.
type script map[string]any

func (s script) Query(_ context.Context, sql string) (string, error) {
	best := ""
	for key := range s {
		if strings.Contains(sql, key) && len(key) > len(best) {
			best = key
		}
	}
	switch v := s[best].(type) {
	case string:
		return v, nil
	case error:
		return "", v
	}
	return "", nil
}

func TestWhatACheckMakesOfErrors(t *testing.T) {
	refusal := func(code string) error { return &pgconn.PgError{SeverityUnlocalized: "ERROR", Code: code} }
	all := func(mark, lsn any) script {
		return script{"pg_proc": "marker lsn", "fairlead.mark(": mark, "pg_current_wal_insert_lsn": lsn, "rollback": ""}
	}
	const answer = "0 0/3000B38 000000010000000000000003 77 10.20"
	for _, tc := range []struct {
		name string
		q    script
		want Mode
		ok   bool
	}{
		{"both work", all("f marked 0", answer), Marker, true},
		{"the marker is refused", all(refusal("42501"), answer), LSN, true},
		{"the marker's answer is none", all("f something", answer), LSN, true},
		{"everything is read-only", all("f readonly 0", answer), LSN, true},
		{"on a replica everything is", all("t readonly 0", answer), Marker, true},
		{"both are refused", all(refusal("42501"), refusal("55000")), Off, true},
		{"the server does not say which one it is", all(refusal("42501"), "0 0/3000B38 000000010000000000000003 77 10."), Off, true},
		{"on a replica nothing is told", script{"pg_proc": "lsn", "select exists": "f", "pg_current_wal_insert_lsn": "recovery"}, LSN, true},
		{"nothing is offered", script{"pg_proc": ""}, Off, true},
		{"the question is refused", script{"pg_proc": refusal("42501")}, Off, true},
		{"a connection that is lost", all(net.ErrClosed, answer), Off, false},
		{"a connection that is lost at once", script{"pg_proc": net.ErrClosed}, Off, false},
		{"a server that goes down", all(&pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "42501"}, answer), Off, false},
		{"a server without memory", all(refusal("53200"), answer), Off, false},
		{"a timeout", all(refusal("42501"), refusal("57014")), Off, false},
		{"a deadlock", all(refusal("40P01"), answer), Off, false},
	} {
		m, err := Check(t.Context(), tc.q, SettingAuto)
		if m != tc.want || (err == nil) != tc.ok {
			t.Errorf("%s: %v, %v", tc.name, m, err)
		}
	}
}

func TestErrorsDecideNothing(t *testing.T) {
	marker := Evidence{Mode: Marker, Answered: true, Marked: true}
	lsn := Evidence{Mode: LSN, Answered: true, XID: 700, LSN: 1000, Timeline: 3, System: "77", Boot: "10.20"}
	reign := topology.Reign{SystemID: "77", Timeline: 3, Boot: "10.20"}
	const self = "f 77 10.20"
	cause := errors.New("connection lost")
	for _, tc := range []struct {
		name string
		q    script
		e    Evidence
		want Outcome
		ok   bool
	}{
		{"marker: the connection is lost", script{"fairlead.resolve": cause}, marker, Unknown, false},
		{"marker: the barrier's connection is lost", script{"fairlead.resolve": "committed", "fairlead.barrier": cause}, marker, Unknown, false},
		{"marker: the server is read-only", script{"fairlead.resolve": &pgconn.PgError{Code: "25006"}}, marker, Unknown, false},
		{"marker: the server goes down", script{"fairlead.resolve": &pgconn.PgError{Code: "57P01"}}, marker, Unknown, false},
		{"marker: the row was deleted", script{"fairlead.resolve": "unknown"}, marker, Unknown, true},
		{"marker: another server", script{"fairlead.resolve": "elsewhere"}, marker, Unknown, false},
		{"marker: committed", script{"fairlead.resolve": "committed"}, marker, Committed, true},
		{"marker: aborted", script{"fairlead.resolve": "aborted"}, marker, Aborted, true},
		{"lsn: the connection is lost", script{"pg_is_in_recovery": cause}, lsn, Unknown, false},
		{"lsn: it is lost later", script{"pg_is_in_recovery": self, "pg_xact_status": cause}, lsn, Unknown, false},
		{"lsn: a replica", script{"pg_is_in_recovery": "t 77 10.20"}, lsn, Unknown, false},
		{"lsn: another run", script{"pg_is_in_recovery": "f 77 10.21"}, lsn, Unknown, false},
		{"lsn: too old", script{"pg_is_in_recovery": self, "pg_xact_status": ""}, lsn, Unknown, true},
		{"lsn: in the future", script{"pg_is_in_recovery": self, "pg_xact_status": &pgconn.PgError{Code: "22023"}}, lsn, Unknown, true},
		{"lsn: committed", script{"pg_is_in_recovery": self, "pg_xact_status": "committed"}, lsn, Committed, true},
		{"lsn: the barrier's connection is lost", script{"pg_is_in_recovery": self, "pg_xact_status": "committed", "emit": cause}, lsn, Unknown, false},
		{"lsn: aborted", script{"pg_is_in_recovery": self, "pg_xact_status": "aborted"}, lsn, Aborted, true},
		{"off", script{}, Evidence{}, Unknown, true},
	} {
		o, err := Decide(t.Context(), tc.q, tc.e, reign)
		if o != tc.want || (err == nil) != tc.ok {
			t.Errorf("%s: %v, %v", tc.name, o, err)
		}
	}
}
