package boundaries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/internal/clients"
)

// pgxUnits are works for which database/sql has no words.
var pgxUnits = []unit{
	{
		group: "Pipelines and COPY", name: "batch", clients: []string{clientPgx}, effects: 1, rows: 3,
		body: func(ctx context.Context, r *run) error { return r.commits(0, sendBatch(ctx, r, 3)) },
	},
	{
		group: "Pipelines and COPY", name: "batch in a transaction", clients: []string{clientPgx}, effects: 1, rows: 3,
		body: func(ctx context.Context, r *run) error {
			return all(r.do(ctx, "begin"), func() error { return sendBatch(ctx, r, 3) }, r.ends(ctx, 0, "commit"))
		},
	},
	{
		group: "Pipelines and COPY", name: "pipeline of three segments", clients: []string{clientPgx}, effects: 3, body: pipeline,
	},
	{
		group: "Pipelines and COPY", name: "copy in", clients: []string{clientPgx}, effects: 1, rows: 3,
		body: func(ctx context.Context, r *run) error { return r.commits(0, copyIn(ctx, r, 3)) },
	},
	{
		group: "Pipelines and COPY", name: "copy in, in a transaction", clients: []string{clientPgx}, effects: 1, rows: 3,
		body: func(ctx context.Context, r *run) error {
			return all(r.do(ctx, "begin"), func() error { return copyIn(ctx, r, 3) }, r.ends(ctx, 0, "commit"))
		},
	},
	{
		group: "Pipelines and COPY", name: "copy out", clients: []string{clientPgx},
		body: func(ctx context.Context, r *run) error {
			var out bytes.Buffer
			_, err := conn(r).PgConn().CopyTo(ctx, &out, "copy (select i from generate_series(1, 3) i) to stdout")
			if err == nil && out.String() != "1\n2\n3\n" {
				return &wrongError{fmt.Sprintf("it was given %q", out.String())}
			}
			return err
		},
	},
}

func conn(r *run) *pgx.Conn { return r.session.(*pgxSession).conn }

func sendBatch(ctx context.Context, r *run, rows int) error {
	b := &pgx.Batch{}
	for i := range rows {
		b.Queue(put, r.id, 0, i)
	}
	return conn(r).SendBatch(ctx, b).Close()
}

func copyIn(ctx context.Context, r *run, rows int) error {
	list := make([][]any, rows)
	for i := range list {
		list[i] = []any{r.id, 0, i}
	}
	_, err := conn(r).CopyFrom(ctx, pgx.Identifier{"boundaries", "effects"}, []string{"run", "effect", "row"}, pgx.CopyFromRows(list))
	return err
}

// pipeline is several units on their way at the same time, each with a Sync of its own.
func pipeline(ctx context.Context, r *run) error {
	p := conn(r).PgConn().StartPipeline(ctx)
	text := func(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }
	for i := range r.told {
		p.SendQueryParams(put, [][]byte{text(r.id), text(i), text(0)}, nil, nil, nil)
		p.SendPipelineSync()
	}
	err := p.Flush()
	var errs []error
	for i := range r.told {
		var failed error
		if err == nil {
			failed, err = clients.Segment(p)
		}
		errs = append(errs, r.commits(i, errors.Join(failed, err)))
	}
	return errors.Join(errors.Join(errs...), p.Close())
}

// listens goes on to do so.
func listens(ctx context.Context, r *run) error {
	channel := r.sql("run_$run")
	return all(r.do(ctx, "listen "+channel), r.do(ctx, "select 1"), r.expects(ctx, []string{channel}, "select pg_listening_channels()"))
}

// afterChange uses a statement that is prepared, after its table was given another type.
func afterChange(ctx context.Context, r *run) error {
	query := r.sql("select i from boundaries.changing_$run where i is not null and $1::text is not null")
	if _, err := r.query(ctx, query, "x"); err != nil {
		return err
	}
	if err := r.exec(ctx, r.sql("alter table boundaries.changing_$run alter i type int using 1")); err != nil {
		return err
	}
	_, err := r.query(ctx, query, "x")
	return err
}
