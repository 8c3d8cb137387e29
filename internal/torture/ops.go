package torture

import (
	"context"
	"fmt"
	"strconv"
)

// The isolation levels.
const (
	readCommitted  = "read committed"
	repeatableRead = "repeatable read"
	serializable   = "serializable"
)

var isolation = []string{readCommitted, readCommitted, repeatableRead, serializable}

// operation is something that an application does.
type operation struct {
	name   string
	weight int
	run    func(ctx context.Context, w *worker, s session)
}

var operations []operation

func init() {
	operations = []operation{
		{"insert-simple", 3, insertSimple},
		{"insert", 3, insertExtended},
		{"insert-keyed", 2, insertKeyed},
		{"insert-returning", 3, insertReturning},
		{"insert-with", 1, insertWith},
		{"insert-function", 1, insertFunction},
		{"multi", 1, multi},
		{"multi-commit", 1, multiCommit},
		{"tx-simple", 2, txSimple},
		{"tx", 3, txExtended},
		{"tx-keyed", 1, txKeyed},
		{"tx-counter", 6, txCounter},
		{"tx-savepoint", 2, txSavepoint},
		{"tx-prepared", 2, txPrepared},
		{"tx-set-local", 1, txSetLocal},
		{"tx-chain", 1, txChain},
		{"tx-rollback", 2, txRollback},
		{"tx-read", 1, txRead},
		{"read", 3, read},
		{"read-long", 1, readLong},
		{"diverge-nextval", 1, divergeNextval},
		{"diverge-now", 1, divergeNow},
		{"diverge-autocommit", 1, divergeAutocommit},
		{"batch", 2, batch},
		{"tx-batch", 2, txBatch},
		{"pipeline", 2, pipeline},
		{"copy", 1, copyIn},
		{"shape", 1, shape},
	}
}

// Operations are the names of the operations of the load.
func Operations() []string {
	var names []string
	for _, o := range operations {
		names = append(names, o.name)
	}
	return names
}

// The tables. Only one has a key: a unit that happens twice must be seen.
var schema = []string{
	"create schema if not exists torture",
	"grant all on schema torture to public",
	"create table torture.writes (worker int, seq int, part int, note text)",
	"create index on torture.writes (worker, seq)",
	"create table torture.keyed (worker int, seq int, part int, primary key (worker, seq, part))",
	"create table torture.counters (id int primary key, n int not null)",
	"create table torture.history (id int, n int, worker int, seq int)",
	"create sequence torture.numbers",
	`create function torture.put(w int, s int) returns text language plpgsql as $$
		begin insert into torture.writes values (w, s, 0, 'function'); return 'put'; end $$`,
	"insert into torture.counters select i, 0 from generate_series(0, 3) i",
	`do $$ begin for i in 0..15 loop
		execute format('create table torture.shape_%s (v int)', i);
		execute format('insert into torture.shape_%s values (1)', i);
		execute format('alter table torture.shape_%s owner to app', i);
	end loop; end $$`,
	"grant all on all tables in schema torture to public",
	"grant all on all sequences in schema torture to public",
}

var unschema = "drop schema if exists torture cascade"

const (
	put      = "insert into torture.writes values ($1, $2, $3, 'x')"
	putKeyed = "insert into torture.keyed values ($1, $2, $3)"
)

func insertSimple(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	w.end(u, s.exec(ctx, literal(put, u.worker, u.seq, 0)), true)
}

func insertExtended(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	w.end(u, s.exec(ctx, put, u.worker, u.seq, 0), true)
}

func insertKeyed(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	if w.rng.IntN(2) == 0 {
		w.end(u, s.exec(ctx, literal(putKeyed, u.worker, u.seq, 0)), true)
		return
	}
	w.end(u, s.exec(ctx, putKeyed, u.worker, u.seq, 0), true)
}

func insertReturning(ctx context.Context, w *worker, s session) {
	u := w.unit(3)
	got, err := s.query(ctx, `insert into torture.writes select $1, $2, i, 'x' from generate_series(0, 2) i
		returning worker || '-' || seq || '-' || part`, u.worker, u.seq)
	w.end(u, err, true)
	w.compare(u, err, got, fmt.Sprintf("%d-%d-0", u.worker, u.seq), fmt.Sprintf("%d-%d-1", u.worker, u.seq), fmt.Sprintf("%d-%d-2", u.worker, u.seq))
}

func insertWith(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	w.end(u, s.exec(ctx, `with a as (insert into torture.writes values ($1, $2, 0, 'x') returning worker, seq)
		insert into torture.writes select worker, seq, 1, 'x' from a`, u.worker, u.seq), true)
}

func insertFunction(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	got, err := s.query(ctx, "select torture.put($1, $2)", u.worker, u.seq)
	w.end(u, err, true)
	w.compare(u, err, got, "put")
}

// multi is an implicit transaction of several statements.
func multi(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	w.end(u, s.exec(ctx, literal(put, u.worker, u.seq, 0)+"; "+literal(put, u.worker, u.seq, 1)), true)
}

func multiCommit(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	if w.fail(u, s.pin(ctx)) {
		return
	}
	err := s.exec(ctx, "begin; "+literal(put, u.worker, u.seq, 0)+"; "+literal(put, u.worker, u.seq, 1)+"; commit")
	w.end(u, err, true)
	if err != nil {
		w.must(u, s.exec(ctx, "rollback"))
	}
}

// transact runs body in a transaction.
func transact(ctx context.Context, w *worker, s session, u *unit, iso string, body func() error) {
	err := s.begin(ctx, iso)
	if err == nil {
		err = body()
	}
	if err != nil {
		w.end(u, err, false)
		w.must(u, s.rollback(ctx))
		return
	}
	w.end(u, s.commit(ctx), true)
}

func txSimple(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	transact(ctx, w, s, u, w.isolation(), func() error {
		if err := s.exec(ctx, literal(put, u.worker, u.seq, 0)); err != nil {
			return err
		}
		return s.exec(ctx, literal(put, u.worker, u.seq, 1))
	})
}

func txExtended(ctx context.Context, w *worker, s session) {
	u := w.unit(3)
	transact(ctx, w, s, u, w.isolation(), func() error {
		for i := range 3 {
			if err := s.exec(ctx, put, u.worker, u.seq, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func txKeyed(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	transact(ctx, w, s, u, w.isolation(), func() error {
		if err := s.exec(ctx, putKeyed, u.worker, u.seq, 0); err != nil {
			return err
		}
		return s.exec(ctx, literal(putKeyed, u.worker, u.seq, 1))
	})
}

// txCounter is a read-modify-write whose middle is in the application.
func txCounter(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	id := w.rng.IntN(4)
	transact(ctx, w, s, u, w.isolation(), func() error {
		got, err := s.query(ctx, "select n::text from torture.counters where id = $1 for update", id)
		if err != nil {
			return err
		}
		if len(got) != 1 {
			return fmt.Errorf("counter %d: %d rows", id, len(got))
		}
		n, err := strconv.Atoi(got[0])
		if err != nil {
			return err
		}
		if err := s.exec(ctx, "insert into torture.history values ($1, $2, $3, $4)", id, n+1, u.worker, u.seq); err != nil {
			return err
		}
		if err := s.exec(ctx, put, u.worker, u.seq, 0); err != nil {
			return err
		}
		return s.exec(ctx, "update torture.counters set n = $2 where id = $1", id, n+1)
	})
}

// txSavepoint leaves parts 0 and 1; what stood between them is rolled back.
func txSavepoint(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	breaks := w.rng.IntN(2) == 0
	transact(ctx, w, s, u, w.isolation(), func() error {
		steps := []func() error{
			func() error { return s.exec(ctx, put, u.worker, u.seq, 0) },
			func() error { return s.exec(ctx, "savepoint a") },
			func() error { return s.exec(ctx, put, u.worker, u.seq, 9) },
			func() error { return s.exec(ctx, "rollback to savepoint a") },
			func() error { return s.exec(ctx, put, u.worker, u.seq, 1) },
			func() error { return s.exec(ctx, "release savepoint a") },
		}
		for i, step := range steps {
			if i == 3 && breaks {
				if err := s.exec(ctx, "select 1/$1::int", 0); sqlState(err) != "22012" {
					return fmt.Errorf("division by zero: %w", err)
				}
			}
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
}

func txPrepared(ctx context.Context, w *worker, s session) {
	u := w.unit(3)
	transact(ctx, w, s, u, w.isolation(), func() error {
		return s.prepared(ctx, put, []any{u.worker, u.seq, 0}, []any{u.worker, u.seq, 1}, []any{u.worker, u.seq, 2})
	})
}

func txSetLocal(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	transact(ctx, w, s, u, w.isolation(), func() error {
		if err := s.exec(ctx, fmt.Sprintf("set local application_name = 'torture-%d'", u.seq)); err != nil {
			return err
		}
		got, err := s.query(ctx, "insert into torture.writes values ($1, $2, 0, 'x') returning current_setting('application_name')", u.worker, u.seq)
		if err == nil && (len(got) != 1 || got[0] != fmt.Sprintf("torture-%d", u.seq)) {
			w.problem(u, kindOther, fmt.Sprintf("set local: application_name is %q", got))
		}
		return err
	})
}

// txChain is two units on one connection, the second begun by the first's end. It may be rolled back.
func txChain(ctx context.Context, w *worker, s session) {
	a, b := w.unit(1), w.unit(1)
	if w.rng.IntN(2) == 0 {
		b.rows, b.never = 0, true
	}
	if err := s.pin(ctx); err != nil {
		w.end(a, err, false)
		w.skip(b, err)
		return
	}
	err := s.exec(ctx, "begin")
	if err == nil {
		err = s.exec(ctx, put, a.worker, a.seq, 0)
	}
	if err == nil {
		err = s.exec(ctx, "commit and chain")
		w.end(a, err, true)
	} else {
		w.end(a, err, false)
	}
	if err != nil {
		w.skip(b, err)
	} else if err = s.exec(ctx, put, b.worker, b.seq, 0); err != nil {
		w.end(b, err, false)
	}
	if err != nil {
		w.must(b, s.exec(ctx, "rollback"))
		return
	}
	if b.never {
		w.end(b, s.exec(ctx, "rollback"), false)
		return
	}
	w.end(b, s.exec(ctx, "commit"), true)
}

func txRollback(ctx context.Context, w *worker, s session) {
	u := w.unit(0)
	u.never = true
	err := s.begin(ctx, w.isolation())
	if err == nil {
		err = s.exec(ctx, put, u.worker, u.seq, 0)
	}
	if err == nil {
		err = s.exec(ctx, literal(put, u.worker, u.seq, 1))
	}
	w.end(u, err, false)
	w.must(u, s.rollback(ctx))
}

// txRead sees the same twice.
func txRead(ctx context.Context, w *worker, s session) {
	u := w.unit(0)
	var first, second []string
	const q = "select string_agg(id || '=' || n, ',' order by id) from torture.counters where id >= $1"
	transact(ctx, w, s, u, repeatableRead, func() (err error) {
		if first, err = s.query(ctx, q, 0); err != nil {
			return err
		}
		second, err = s.query(ctx, q, 0)
		return err
	})
	if u.outcome == Acked {
		w.compare(u, nil, second, first...)
	}
}

// read looks for what the worker was last told to be there.
func read(ctx context.Context, w *worker, s session) {
	u := w.unit(0)
	last := w.last
	if last < 0 {
		got, err := s.query(ctx, "select i::text from generate_series(1, 3) i")
		w.end(u, err, false)
		w.compare(u, err, got, "1", "2", "3")
		return
	}
	got, err := s.query(ctx, "select count(*)::text from torture.writes where worker = $1 and seq = $2 and part = 0", u.worker, last)
	w.end(u, err, false)
	w.compare(u, err, got, "1")
}

func readLong(ctx context.Context, w *worker, s session) {
	u := w.unit(0)
	const n = 3000
	got, err := s.query(ctx, "select i || repeat('-', 100) from generate_series(1, $1::int) i", n)
	w.end(u, err, false)
	if err == nil && len(got) != n {
		w.problem(u, kindOther, fmt.Sprintf("%d rows of %d", len(got), n))
	}
}

// divergeNextval shows the client a number that a replay cannot give again.
func divergeNextval(ctx context.Context, w *worker, s session) {
	u := w.unit(2)
	transact(ctx, w, s, u, w.isolation(), func() error {
		if _, err := s.query(ctx, "insert into torture.writes values ($1, $2, 0, 'x') returning nextval('torture.numbers')::text", u.worker, u.seq); err != nil {
			return err
		}
		return s.exec(ctx, put, u.worker, u.seq, 1)
	})
}

func divergeNow(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	transact(ctx, w, s, u, w.isolation(), func() error {
		first, err := s.query(ctx, "select now()::text")
		if err != nil {
			return err
		}
		second, err := s.query(ctx, "insert into torture.writes values ($1, $2, 0, now()::text) returning note", u.worker, u.seq)
		if err == nil && (len(second) != 1 || first[0] != second[0]) {
			w.problem(u, kindOther, fmt.Sprintf("now() was %v and then %v in one transaction", first, second))
		}
		return err
	})
}

func divergeAutocommit(ctx context.Context, w *worker, s session) {
	u := w.unit(1)
	_, err := s.query(ctx, "insert into torture.writes values ($1, $2, 0, nextval('torture.numbers')::text) returning note", u.worker, u.seq)
	w.end(u, err, true)
}
