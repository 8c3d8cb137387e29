package torture

import "context"

// inserts are the arguments of put for a unit's rows.
func inserts(u *unit) [][]any {
	rows := make([][]any, u.rows)
	for i := range rows {
		rows[i] = []any{u.worker, u.seq, i}
	}
	return rows
}

// batch is one implicit transaction in one pipeline.
func batch(ctx context.Context, w *worker, s session) {
	b, ok := s.(batcher)
	if !ok {
		insertExtended(ctx, w, s)
		return
	}
	u := w.unit(4)
	w.end(u, b.batch(ctx, put, inserts(u)...), true)
}

func txBatch(ctx context.Context, w *worker, s session) {
	b, ok := s.(batcher)
	if !ok {
		insertExtended(ctx, w, s)
		return
	}
	u := w.unit(4)
	transact(ctx, w, s, u, w.isolation(), func() error { return b.batch(ctx, put, inserts(u)...) })
}

func copyIn(ctx context.Context, w *worker, s session) {
	c, ok := s.(copier)
	if !ok {
		insertExtended(ctx, w, s)
		return
	}
	u := w.unit(200)
	rows := inserts(u)
	for i := range rows {
		rows[i] = append(rows[i], "copy")
	}
	w.end(u, c.copyIn(ctx, "torture.writes", []string{"worker", "seq", "part", "note"}, rows), true)
}
