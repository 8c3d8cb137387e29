package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// honestTimeout bounds one operation of an honest client: it may wait for a connection that an attacker holds, and for no longer
// than the pooler's own timeouts say.
const honestTimeout = 45 * time.Second

// honest works until ctx ends, and notes whatever is not as it is with a server alone.
func (r *run) honest(ctx context.Context, id int) {
	random := rand.New(rand.NewPCG(r.cfg.Seed, uint64(id)+1<<40))
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), honestTimeout)
		began := time.Now()
		var err error
		if conn == nil {
			conn, err = r.enter(limited, id)
		}
		what := "connect"
		if err == nil {
			op := operations[random.IntN(len(operations))]
			what, err = op.name, op.do(limited, conn, id, random)
		}
		r.took(time.Since(began))
		cancel()
		if err != nil {
			r.wrong("honest client %d: %s: %v%s", id, what, err, detail(err))
			if conn != nil {
				_ = conn.Close(context.WithoutCancel(ctx))
				conn = nil
			}
			continue
		}
		if r.ops.Add(1); random.IntN(300) == 0 { // a new login now and then
			_ = conn.Close(context.WithoutCancel(ctx))
			conn = nil
		}
	}
}

func (r *run) took(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slowest = max(r.slowest, d)
}

// enter logs an honest client in and gives its session the state that tenant checks.
func (r *run) enter(ctx context.Context, id int) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, r.pooler.url())
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("set app.tenant = 'tenant %d'; set search_path = public, t%d", id, id)); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

type operation struct {
	name string
	do   func(ctx context.Context, conn *pgx.Conn, id int, random *rand.Rand) error
}

var operations = []operation{
	{"state", tenant},
	{"state", tenant},
	{"prepared statement", prepared},
	{"large value", large},
	{"transfer", transfer},
	{"key of a new row", key},
	{"batch", batch},
	{"error", fails},
	{"copy", copies},
}

func expect[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

// tenant checks that the session's state is its own.
func tenant(ctx context.Context, conn *pgx.Conn, id int, _ *rand.Rand) error {
	var app, path, user string
	err := conn.QueryRow(ctx, "select current_setting('app.tenant'), current_setting('search_path'), current_user").Scan(&app, &path, &user)
	return errors.Join(err, expect(app, fmt.Sprintf("tenant %d", id)), expect(path, fmt.Sprintf("public, t%d", id)), expect(user, "app"))
}

func prepared(ctx context.Context, conn *pgx.Conn, id int, random *rand.Rand) error {
	n := random.IntN(1 << 20)
	var got int
	err := conn.QueryRow(ctx, fmt.Sprintf("select $1::int + %d", id), n).Scan(&got)
	return errors.Join(err, expect(got, n+id))
}

func large(ctx context.Context, conn *pgx.Conn, id int, random *rand.Rand) error {
	text := strings.Repeat(fmt.Sprintf("%d,", id), 1+random.IntN(100_000))
	var got string
	err := conn.QueryRow(ctx, "select $1::text", text).Scan(&got)
	if err == nil && got != text {
		err = fmt.Errorf("%d bytes came back other than they went", len(text))
	}
	return err
}

// transfer moves money between two accounts of the client's own.
func transfer(ctx context.Context, conn *pgx.Conn, id int, random *rand.Rand) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		amount := random.IntN(100)
		if _, err := tx.Exec(ctx, "update account set amount = amount - $1 where id = $2", amount, 2*id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update account set amount = amount + $1 where id = $2", amount, 2*id+1); err != nil {
			return err
		}
		var sum int64
		err := tx.QueryRow(ctx, "select sum(amount)::bigint from account where owner = $1", id).Scan(&sum)
		return errors.Join(err, expect(sum, 2000))
	})
}

func key(ctx context.Context, conn *pgx.Conn, id int, _ *rand.Rand) error {
	var n int64
	var note string
	want := fmt.Sprintf("of %d", id)
	if err := conn.QueryRow(ctx, "insert into heap (note) values ($1) returning id", want).Scan(&n); err != nil {
		return err
	}
	err := conn.QueryRow(ctx, "delete from heap where id = $1 returning note", n).Scan(&note)
	return errors.Join(err, expect(note, want))
}

func batch(ctx context.Context, conn *pgx.Conn, id int, random *rand.Rand) error {
	b := &pgx.Batch{}
	n := 1 + random.IntN(20)
	for i := range n {
		b.Queue("select $1::int, $2::text", i, fmt.Sprintf("client %d", id))
	}
	results := conn.SendBatch(ctx, b)
	var wrong error
	for i := range n {
		var got int
		var whose string
		err := results.QueryRow().Scan(&got, &whose)
		if wrong = errors.Join(err, expect(got, i), expect(whose, fmt.Sprintf("client %d", id))); wrong != nil {
			break
		}
	}
	return errors.Join(wrong, results.Close())
}

// fails checks that an error is the one that the statement deserves, and that the session outlives it.
func fails(ctx context.Context, conn *pgx.Conn, id int, _ *rand.Rand) error {
	_, err := conn.Exec(ctx, "select 1 / $1::int", 0)
	if wrong := expect(sqlState(err), "22012"); wrong != nil {
		return errors.Join(err, wrong)
	}
	var got int
	err = conn.QueryRow(ctx, "select $1::int", id).Scan(&got)
	return errors.Join(err, expect(got, id))
}

func copies(ctx context.Context, conn *pgx.Conn, id int, random *rand.Rand) error {
	n := 1 + random.IntN(500)
	var counted int64
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		copied, err := tx.CopyFrom(ctx, pgx.Identifier{"heap"}, []string{"note"}, pgx.CopyFromSlice(n, func(int) ([]any, error) {
			return []any{fmt.Sprintf("copied by %d", id)}, nil
		}))
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, "delete from heap where note = $1", fmt.Sprintf("copied by %d", id))
		counted = tag.RowsAffected()
		return errors.Join(err, expect(copied, int64(n)))
	})
	return errors.Join(err, expect(counted, int64(n)))
}
