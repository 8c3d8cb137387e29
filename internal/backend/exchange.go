package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// maxAnswer bounds a message of an answer that is read here, in bytes.
const maxAnswer = 16 << 20

// maxParams bounds the parameters that a server reports.
const maxParams = 256

var errTooMuch = errors.New("backend: the server sent more notifications or parameters than any has to")

var errMalformed = errors.New("backend: the server sent what is not PostgreSQL's protocol")

// Exchange sends messages and reads what the server answers until done says so. It is for the moments in which the
// mount has the connection to itself: to bring it to a session's state. NoticeResponses are dropped; notifications
// are kept for the next Read. An ErrorResponse is given to done like any message, unless it is FATAL.
func (u *Upstream) Exchange(ctx context.Context, msgs []byte, done func(kind byte, msg []byte) bool) (err error) {
	defer u.inFlight()()
	stop := context.AfterFunc(ctx, func() { _ = u.conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			err = errors.Join(context.Cause(ctx), err)
		}
	}()
	if _, err := u.Write(msgs); err != nil {
		return fmt.Errorf("backend: write: %w", err)
	}
	var asides []byte
	buf := u.early
	u.early = nil // so that Read reads what is new
	chunk := make([]byte, 8<<10)
	for {
		n, ok := wire.BackendSize(buf)
		if ok && (n == 0 || n > maxAnswer || n <= len(buf) && !wire.SoundBackend(buf[:n])) {
			return errMalformed
		}
		if !ok || n > len(buf) {
			k, err := u.Read(chunk)
			buf = append(buf, chunk[:k]...)
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("backend: read: %w", err)
			}
			continue
		}
		msg := buf[:n]
		buf = buf[n:]
		switch msg[0] {
		case wire.NoticeResponse:
			continue
		case wire.NotificationResponse:
			if asides = append(asides, msg...); len(asides) > maxAnswer {
				return errTooMuch
			}
			continue
		case wire.ParameterStatus:
			name, rest, _ := wire.CString(wire.Body(msg))
			value, _, _ := wire.CString(rest)
			if u.Params[string(name)] = string(value); len(u.Params) > maxParams {
				return errTooMuch
			}
			continue
		case wire.ErrorResponse:
			if wire.ParseError(wire.Body(msg)).Fatal() {
				return PgError(msg)
			}
		}
		if done(msg[0], msg) {
			break
		}
	}
	u.early = append(asides, buf...)
	return nil
}

// inFlight has the pulse watch what is asked until the function that it returns is called. The owner's lock is not held.
func (u *Upstream) inFlight() (over func()) {
	owner := u.registry.ownerOf(u)
	owner.Lock()
	defer owner.Unlock()
	if u.waiting {
		return func() {}
	}
	u.Begin()
	return func() {
		owner.Lock()
		defer owner.Unlock()
		u.Heard(true)
	}
}

// Ping asks the server for nothing, and returns when it has answered. It is for a moment in which nothing is outstanding; the
// client's transaction, and all else, stay as they are.
func (u *Upstream) Ping(ctx context.Context) error {
	return u.Exchange(ctx, []byte{wire.Sync, 0, 0, 0, 4}, func(kind byte, _ []byte) bool { return kind == wire.ReadyForQuery })
}

// PgError is an ErrorResponse as a Go error.
func PgError(msg []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(wire.Body(msg)); err != nil {
		return fmt.Errorf("backend: error response: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&m)
}

// Query runs SQL by the simple protocol and returns the first column of the first row, "" when there is none.
func (u *Upstream) Query(ctx context.Context, sql string) (first string, err error) {
	q, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return "", fmt.Errorf("backend: query: %w", err)
	}
	var failed error
	seen := false
	err = u.Exchange(ctx, q, func(kind byte, msg []byte) bool {
		switch kind {
		case wire.ErrorResponse:
			failed = PgError(msg)
		case wire.DataRow:
			var row pgproto3.DataRow
			if !seen && row.Decode(wire.Body(msg)) == nil && len(row.Values) > 0 {
				first, seen = string(row.Values[0]), true
			}
		}
		return kind == wire.ReadyForQuery
	})
	if err == nil {
		err = failed
	}
	return first, err
}
