package torture

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/internal/clients"
)

// pgxOnly gives the connection, or ends the unit as something that has nothing to do with this client.
func pgxOnly(ctx context.Context, w *worker, s session) (*pgxSession, bool) {
	p, ok := s.(*pgxSession)
	if !ok {
		insertExtended(ctx, w, s)
		return nil, false
	}
	if err := p.pin(ctx); err != nil {
		w.fail(w.unit(0), err)
		return nil, false
	}
	return p, true
}

// pipeline is several units on their way at the same time, each with a Sync of its own.
func pipeline(ctx context.Context, w *worker, s session) {
	p, ok := pgxOnly(ctx, w, s)
	if !ok {
		return
	}
	const n = 4
	var units [n]*unit
	for i := range units {
		units[i] = w.unit(1)
	}
	pl := p.conn.Conn().PgConn().StartPipeline(ctx)
	for _, u := range units {
		pl.SendQueryParams(put, [][]byte{text(u.worker), text(u.seq), text(0)}, nil, nil, nil)
		pl.SendPipelineSync()
	}
	err := pl.Flush()
	for _, u := range units {
		var failed error
		if err == nil {
			failed, err = clients.Segment(pl)
		}
		w.end(u, errors.Join(failed, err), true)
	}
	if e := pl.Close(); e != nil && err == nil {
		w.must(units[n-1], e)
	}
}

func text(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// shape uses a prepared statement after its result has got another type of the same width: what its client knows of it would
// make another number of it.
func shape(ctx context.Context, w *worker, s session) {
	p, ok := pgxOnly(ctx, w, s)
	if !ok {
		return
	}
	u := w.unit(0)
	err := p.shape(ctx, w, u, w.id%16)
	if sqlState(err) == codeChangedResult {
		err = nil
	}
	w.end(u, err, true)
	w.must(u, p.conn.Conn().DeallocateAll(ctx))
}

func (s *pgxSession) shape(ctx context.Context, w *worker, u *unit, table int) error {
	name := fmt.Sprintf("torture.shape_%d", table)
	if _, err := s.conn.Conn().Prepare(ctx, "shape", "select v from "+name); err != nil {
		return err
	}
	for _, kind := range []string{"", "real", "int"} {
		if kind != "" {
			if _, err := s.conn.Exec(ctx, "alter table "+name+" alter v type "+kind); err != nil {
				return err
			}
		}
		for range 2 {
			rows, err := s.conn.Query(ctx, "shape")
			if err != nil {
				return err
			}
			got, err := pgx.CollectRows(rows, pgx.RowTo[any])
			if sqlState(err) == codeChangedResult {
				if err := s.conn.Conn().Deallocate(ctx, "shape"); err != nil {
					return err
				}
				if _, err := s.conn.Conn().Prepare(ctx, "shape", "select v from "+name); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			if len(got) != 1 || fmt.Sprint(got[0]) != "1" {
				w.problem(u, kindOther, fmt.Sprintf("shape: v is %v, of type %q, want 1", got, kind))
			}
		}
	}
	return nil
}
