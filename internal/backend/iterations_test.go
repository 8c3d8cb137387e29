package backend

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/topology"
)

// demand is a server that asks for a number of iterations.
func demand(conn net.Conn, iterations string) {
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASL) != nil {
		return
	}
	m, err := b.Receive()
	first, ok := m.(*pgproto3.SASLInitialResponse)
	if err != nil || !ok {
		return
	}
	_, nonce, _ := strings.Cut(string(first.Data), "r=")
	b.Send(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=" + nonce + "more,s=c2FsdA==,i=" + iterations)})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASLContinue) != nil {
		return
	}
	if _, err := b.Receive(); err == nil {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "answered"})
		_ = b.Flush()
	}
}

func TestAServerAsksForNoMoreWorkThanIsUsual(t *testing.T) {
	for iterations, want := range map[string]string{"4096": "answered", "100000": "answered", "100001": "scram_iterations", "9999999": "scram_iterations", "99999999999999999999": "scram_iterations"} {
		cfg, err := pgconn.ParseConfig("host=a user=u password=p sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
		cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go demand(server, iterations)
			return client, nil
		}
		_, err = NewLogin(cfg, topology.WantAny, nil).Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", iterations, err)
		}
		if want != "answered" && !topology.RefusesLogin(err) {
			t.Errorf("%s: it is tried again", iterations)
		}
	}
}

// However a login comes in pieces, it is looked at, and given on as it is.
func TestALoginIsLookedAtInPieces(t *testing.T) {
	encode := func(m pgproto3.BackendMessage) []byte {
		b, err := m.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	start := append(encode(&pgproto3.NegotiateProtocolVersion{}), encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}})...)
	good, bad := encode(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=x,s=y,i=4096")}), encode(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=x,s=y,i=100001")})
	rest := append(encode(&pgproto3.AuthenticationOk{}), bytes.Repeat([]byte{0xff}, 1000)...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader} {
		all := bytes.Join([][]byte{start, good, rest}, nil)
		if got, err := io.ReadAll(&loginReader{r: wrap(bytes.NewReader(all))}); err != nil || !bytes.Equal(got, all) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(all), err)
		}
		if _, err := io.ReadAll(&loginReader{r: wrap(bytes.NewReader(bytes.Join([][]byte{start, bad, rest}, nil)))}); err == nil {
			t.Errorf("%s: nothing is seen", name)
		}
	}
}
