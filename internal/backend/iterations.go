package backend

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// maxIterations bounds the work that a server may ask for in a login by SCRAM; PostgreSQL's default is 4096.
const maxIterations = 100_000

// The messages of a login that are looked at.
const (
	authenticationOk           = 0
	authenticationSASLContinue = 11
	negotiateProtocolVersion   = 'v'
)

// loginReader reads what a server sends, and looks at it until the login is over: whoever answers at the server's address may ask for more work
// than a processor does in hours.
type loginReader struct {
	r    io.Reader
	seen []byte // the beginning of a message that is not whole
	over bool
}

// Read implements io.Reader.
func (l *loginReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.over || n == 0 {
		return n, err
	}
	l.seen = append(l.seen, p[:n]...)
	if bad := l.look(); bad != nil {
		return 0, bad
	}
	return n, err
}

func (l *loginReader) look() error {
	for {
		size, ok := wire.Size(l.seen)
		switch {
		case !ok:
			return nil
		case size == 0 || size > maxGreeting || l.seen[0] != 'R' && l.seen[0] != negotiateProtocolVersion:
			l.over, l.seen = true, nil // the frontend says what is wrong with it, if anything is
			return nil
		case size > len(l.seen):
			return nil
		}
		msg := wire.Body(l.seen[:size])
		if l.seen[0] == 'R' && len(msg) >= 4 {
			switch binary.BigEndian.Uint32(msg) {
			case authenticationOk:
				l.over, l.seen = true, nil
				return nil
			case authenticationSASLContinue:
				if err := checkIterations(msg[4:]); err != nil {
					return err
				}
			}
		}
		l.seen = l.seen[size:]
	}
}

// checkIterations looks at a server's first message of SCRAM: r=<nonce>,s=<salt>,i=<iterations>. What is malformed, pgconn refuses.
func checkIterations(challenge []byte) error {
	for attribute := range bytes.SplitSeq(challenge, []byte(",")) {
		text, ok := bytes.CutPrefix(attribute, []byte("i="))
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(string(text), 10, 64); err != nil || n > maxIterations {
			return fmt.Errorf("fairlead: the server asks for more than %d iterations of SCRAM: lower scram_iterations there, and set the password anew", maxIterations)
		}
	}
	return nil
}
