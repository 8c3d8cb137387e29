package wire

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestSizeSeesShortAndBrokenHeaders(t *testing.T) {
	for _, c := range []struct {
		in string
		n  int
		ok bool
	}{
		{"Z\x00\x00\x00", 0, false},
		{"Z\x00\x00\x00\x05I", 6, true},
		{"Z\x00\x00\x00\x05", 6, true},
		{"Z\x00\x00\x00\x03", 0, true},
		{"Z\xff\xff\xff\xff", 0, true},
	} {
		if n, ok := Size([]byte(c.in)); n != c.n || ok != c.ok {
			t.Errorf("Size(%q) = %d, %v; want %d, %v", c.in, n, ok, c.n, c.ok)
		}
	}
}

func TestParseErrorPrefersTheSeverityThatIsNotLocalised(t *testing.T) {
	msg, err := (&pgproto3.ErrorResponse{
		Severity: "FATAL (übersetzt)", SeverityUnlocalized: "FATAL", Code: "57P01",
		Message: "terminating connection", ConstraintName: "pk",
	}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := ParseError(Body(msg))
	want := Error{Severity: "FATAL", Code: "57P01", Message: "terminating connection", Constraint: "pk"}
	if got != want || !got.Fatal() {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if e := ParseError([]byte("SERROR\x00C25006\x00")); e.Severity != "ERROR" || e.Code != "25006" || e.Fatal() {
		t.Errorf("got %+v", e)
	}
}

func FuzzParseError(f *testing.F) {
	f.Add([]byte("SERROR\x00C25006\x00\x00"))
	f.Add([]byte("S"))
	f.Fuzz(func(t *testing.T, b []byte) { ParseError(b) })
}
