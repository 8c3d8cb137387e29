package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// postgresWire sends simple queries over a connection taken from pgconn. pgconn's own way to give up a query that hangs is to
// dial the same server for a cancel request and to wait in the background; a probe must let go at once and leave nothing behind.
type postgresWire struct {
	conn net.Conn
	fe   *pgproto3.Frontend
	addr netip.Addr
}

// postgresResult is a query's rows, or the server's refusal of it.
type postgresResult struct {
	rows [][]string
	err  error
}

// value is the only value of a result; "" if it is null or there is none.
func (r *postgresResult) value() string {
	if len(r.rows) == 0 || len(r.rows[0]) == 0 {
		return ""
	}
	return r.rows[0][0]
}

func newPostgresWire(ctx context.Context, conn *pgconn.PgConn) (*postgresWire, error) {
	if err := conn.SyncConn(ctx); err != nil { // pgconn may still be reading in the background
		_ = conn.Conn().Close()
		return nil, err
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	w := &postgresWire{conn: h.Conn, fe: h.Frontend}
	if ap, err := netip.ParseAddrPort(h.Conn.RemoteAddr().String()); err == nil {
		w.addr = ap.Addr().Unmap()
	}
	return w, nil
}

// ownPath has the rest of a query string look for nothing outside the server's own schema. It is no startup parameter, which poolers between
// refuse, and holds for this one string, because they give the connection to others.
const ownPath = "set local search_path to pg_catalog; "

// query sends queries in one write and reads their results. An error of the server belongs to its query's result; any other
// ends the connection's use.
func (w *postgresWire) query(ctx context.Context, sql ...string) ([]postgresResult, error) {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, q := range sql {
		w.fe.Send(&pgproto3.Query{String: ownPath + q})
	}
	if err := w.fe.Flush(); err != nil {
		return nil, w.broken(ctx, err)
	}
	results := make([]postgresResult, 0, len(sql))
	var r postgresResult
	for len(results) < len(sql) {
		msg, err := w.fe.Receive()
		if err != nil {
			return nil, w.broken(ctx, err)
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			row := make([]string, len(msg.Values))
			for i, v := range msg.Values {
				row[i] = string(v)
			}
			r.rows = append(r.rows, row)
		case *pgproto3.ErrorResponse:
			r.err = pgconn.ErrorResponseToPgError(msg)
			if msg.Severity == "FATAL" || msg.SeverityUnlocalized == "FATAL" {
				return nil, r.err
			}
		case *pgproto3.ReadyForQuery:
			results = append(results, r)
			r = postgresResult{}
		case *pgproto3.CopyInResponse, *pgproto3.CopyOutResponse:
			return nil, errors.New("unexpected message in answer to a probe")
		}
	}
	return results, nil
}

// broken names the context's end as the cause where that is what cut the connection.
func (w *postgresWire) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("connection lost: %w", err)
}

// close says good-bye if that can be done without waiting.
func (w *postgresWire) close() error {
	_ = w.conn.SetDeadline(time.Now().Add(10 * time.Millisecond))
	w.fe.Send(&pgproto3.Terminate{})
	_ = w.fe.Flush()
	return w.conn.Close()
}
