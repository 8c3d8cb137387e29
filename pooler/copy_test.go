package pooler_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// slowReader lets the server's error come before the data.
type slowReader struct{ r io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return s.r.Read(p)
}

func TestACopyThatFailedDoesNotHoldUpTheNext(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	conn := connect(t, url(shared, addr)).PgConn()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "create temporary table t (id text primary key, n int not null)").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.CopyFrom(ctx, slowReader{strings.NewReader("id\t0\n")}, "COPY nosuchtable FROM STDIN"); code(err) != "42P01" {
		t.Error(err)
	}
	if tag, err := conn.CopyFrom(ctx, slowReader{strings.NewReader("id\t0\n")}, "COPY t FROM STDIN"); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("%v: %v", tag, err)
	}
}
