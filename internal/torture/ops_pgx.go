package torture

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

func queue(u *unit, parts int) *pgx.Batch {
	b := &pgx.Batch{}
	for i := range parts {
		b.Queue(put, u.worker, u.seq, i)
	}
	return b
}

// batch is one implicit transaction in one pipeline.
func batch(ctx context.Context, w *worker, s session) {
	p, ok := pgxOnly(ctx, w, s)
	if !ok {
		return
	}
	u := w.unit(4)
	w.end(u, p.conn.SendBatch(ctx, queue(u, 4)).Close(), true)
}

func txBatch(ctx context.Context, w *worker, s session) {
	p, ok := pgxOnly(ctx, w, s)
	if !ok {
		return
	}
	u := w.unit(4)
	transact(ctx, w, s, u, w.isolation(), func() error {
		return p.tx.SendBatch(ctx, queue(u, 4)).Close()
	})
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
		var result error
		for err == nil {
			var r any
			if r, err = pl.GetResults(); err != nil {
				var pg *pgconn.PgError
				if errors.As(err, &pg) {
					result, err = errors.Join(result, err), nil
					continue
				}
				break
			}
			if reader, ok := r.(*pgconn.ResultReader); ok {
				if _, e := reader.Close(); e != nil {
					result = errors.Join(result, e)
				}
			}
			if _, ok := r.(*pgconn.PipelineSync); ok {
				break
			}
			if r == nil {
				result = errors.Join(result, errors.New("the pipeline ended early"))
				break
			}
		}
		w.end(u, errors.Join(result, err), true)
	}
	if e := pl.Close(); e != nil && err == nil {
		w.must(units[n-1], e)
	}
}

func text(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

func copyIn(ctx context.Context, w *worker, s session) {
	p, ok := pgxOnly(ctx, w, s)
	if !ok {
		return
	}
	const n = 200
	u := w.unit(n)
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = []any{u.worker, u.seq, i, "copy"}
	}
	_, err := p.conn.CopyFrom(ctx, pgx.Identifier{"torture", "writes"}, []string{"worker", "seq", "part", "note"}, pgx.CopyFromRows(rows))
	w.end(u, err, true)
}
