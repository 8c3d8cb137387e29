package commit_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/topology"
)

func TestMarkersDecide(t *testing.T) {
	w := shared(t)
	for _, isolation := range isolations {
		t.Run(isolation, func(t *testing.T) {
			c := w.app(w.Writer())
			key := newKey()

			c.run("begin isolation level " + isolation + "; insert into t values ('x')")
			e := c.inject(commit.Marker, key)
			if !e.Marked || !e.Answered || e.XID == 0 {
				t.Fatalf("%+v", e)
			}
			c.run("commit")
			w.expect(commit.Committed, e, w.reign())

			key = next(key)
			c.run("begin isolation level " + isolation + "; insert into t values ('x')")
			e = c.inject(commit.Marker, key)
			c.run("rollback")
			w.expect(commit.Aborted, e, w.reign())
			// A resolver whose answer was lost asks again, and does not take its own row for the transaction's.
			w.expect(commit.Aborted, e, w.reign())

			key = next(key)
			c.run("begin isolation level " + isolation)
			if e = c.inject(commit.Marker, key); !e.Marked || e.XID != 0 {
				t.Fatalf("without effects: %+v", e)
			}
			c.run("commit")
			w.expect(commit.Committed, e, w.reign())
		})
	}
}

func TestAnAbortedCommitCannotHappenAnyMore(t *testing.T) {
	w := shared(t)
	for _, isolation := range isolations {
		t.Run(isolation, func(t *testing.T) {
			old := w.app(w.Writer())
			old.run("begin isolation level " + isolation + "; insert into t values ('zombie " + isolation + "')")
			key := newKey()
			// Its connection is lost before the injected statement has run, and its bytes are still on their way.
			w.expect(commit.Aborted, commit.Evidence{Mode: commit.Marker, Key: key, NotReadOnly: true}, w.reign())

			// The session goes on, and commits the replayed work.
			again := w.app(w.Writer())
			again.run("begin isolation level " + isolation)
			again.inject(commit.Marker, next(key))
			again.run("commit")

			if _, err := old.tryInject(commit.Marker, key); code(err) != "23505" && code(err) != "40001" {
				t.Errorf("the old transaction goes on: %v", err)
			}
			old.run("commit")
			if n := again.run("select count(*) from t where v = 'zombie " + isolation + "'"); n != "0" {
				t.Errorf("the old transaction committed after all")
			}
		})
	}
}

func TestAResolverWaitsForTheOldTransaction(t *testing.T) {
	w := shared(t)
	// The role's own habits must not matter.
	admin := w.admin(w.Writer())
	admin.run("alter role app set statement_timeout = '300ms'; alter role app set lock_timeout = '200ms'; " +
		"alter role app set default_transaction_isolation = 'serializable'; alter role app set default_transaction_read_only = on")
	t.Cleanup(func() { admin.run("alter role app reset all") })
	for _, isolation := range isolations {
		for _, end := range []string{"commit", "rollback"} {
			t.Run(isolation+" "+end, func(t *testing.T) {
				old := w.app(w.Writer())
				old.run("set statement_timeout = 0; set lock_timeout = 0") // they are there for the resolver
				old.run("begin isolation level " + isolation + " read write; insert into t values ('x')")
				e := old.inject(commit.Marker, newKey())

				ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
				defer cancel()
				if o, err := commit.Decide(ctx, w.app(w.Writer()), e, w.reign()); o != commit.Unknown || err == nil {
					t.Fatalf("%v, %v while it lives", o, err)
				}

				type result struct {
					o   commit.Outcome
					err error
				}
				done := make(chan result, 1)
				q, reign := w.app(w.Writer()), w.reign()
				go func() {
					o, err := commit.Decide(w.ctx, q, e, reign)
					done <- result{o, err}
				}()
				for admin.run("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%fairlead.resolve%' and now() - query_start > '400ms'") == "0" {
					select {
					case r := <-done:
						t.Fatalf("%v, %v while it lives", r.o, r.err)
					case <-time.After(20 * time.Millisecond):
					}
				}
				old.run(end)
				want := commit.Aborted
				if end == "commit" {
					want = commit.Committed
				}
				if r := <-done; r.o != want || r.err != nil {
					t.Errorf("%v, %v; want %v", r.o, r.err, want)
				}
			})
		}
	}
}

func TestWhatAMarkerCannotTell(t *testing.T) {
	w := shared(t)
	reign := w.reign()
	c := w.app(w.Writer())
	t.Run("a read-only transaction leaves none", func(t *testing.T) {
		c.run("begin read only")
		e := c.inject(commit.Marker, newKey())
		c.run("commit")
		if !e.Answered || e.Marked || e.XID != 0 {
			t.Fatalf("%+v", e)
		}
		w.expect(commit.Unknown, e, reign)
	})
	t.Run("nor does one that became read-only after a write", func(t *testing.T) {
		c.run("begin; insert into t values ('x'); set transaction_read_only = on")
		e := c.inject(commit.Marker, newKey())
		c.run("commit")
		if e.Marked || e.XID == 0 {
			t.Fatalf("%+v", e)
		}
		w.expect(commit.Unknown, e, reign)
	})
	t.Run("unanswered and possibly read-only", func(t *testing.T) {
		w.expect(commit.Unknown, commit.Evidence{Mode: commit.Marker, Key: newKey()}, reign)
		key := newKey()
		c.run("begin")
		c.inject(commit.Marker, key)
		c.run("commit")
		w.expect(commit.Committed, commit.Evidence{Mode: commit.Marker, Key: key}, reign)
	})
	t.Run("on another server than the writer", func(t *testing.T) {
		elsewhere := reign
		elsewhere.Boot = "1.2"
		key := newKey()
		e := commit.Evidence{Mode: commit.Marker, Key: key, NotReadOnly: true}
		if o, err := commit.Decide(w.ctx, c, e, elsewhere); o != commit.Unknown || err == nil {
			t.Errorf("%v, %v", o, err)
		}
		// Nothing was written there.
		c.run("begin")
		c.inject(commit.Marker, key)
		c.run("rollback")
		w.expect(commit.Aborted, e, topology.Reign{})
	})
	t.Run("without the table", func(t *testing.T) {
		admin := w.admin(w.Writer())
		admin.run("alter schema fairlead rename to elsewhere")
		o, err := commit.Decide(w.ctx, c, commit.Evidence{Mode: commit.Marker, Key: newKey(), NotReadOnly: true}, reign)
		if o != commit.Unknown || err == nil {
			t.Errorf("%v, %v", o, err)
		}
		admin.run("alter schema elsewhere rename to fairlead")
		if c.TxStatus() != 'I' {
			t.Errorf("the connection is left in a transaction: %c", c.TxStatus())
		}
	})
}

func TestCommitsInAPipelineAreDecidedEachByItself(t *testing.T) {
	w := shared(t)
	c := w.app(w.Writer())
	key := newKey()
	c.run("begin")
	c.inject(commit.Marker, key)
	c.run("commit")
	key = next(key)
	var all []commit.Evidence
	for i := range 4 {
		c.run("begin; insert into t values ('x')")
		all = append(all, c.inject(commit.Marker, key))
		if i == 1 {
			c.run("rollback")
		} else {
			c.run("commit")
		}
		key.Seq++ // Settled stays: none was answered
	}
	for i, e := range all {
		want := commit.Committed
		if i == 1 {
			want = commit.Aborted
		}
		w.expect(want, e, w.reign())
	}
}

func TestMarkersGoAway(t *testing.T) {
	w := shared(t)
	c, admin := w.app(w.Writer()), w.admin(w.Writer())
	admin.run("truncate fairlead.commits")
	rows := func() string { return admin.run("select count(*) from fairlead.commits") }
	commits := func(isolation string, k commit.Key) commit.Key {
		c.run("begin isolation level " + isolation)
		c.inject(commit.Marker, k)
		c.run("commit")
		return next(k)
	}
	key := newKey()
	for range 5 {
		key = commits("read committed", key)
		key = commits("repeatable read", key)
	}
	if n := rows(); n != "1" {
		t.Errorf("a session has %s rows", n)
	}
	for range 3 {
		key = commits("serializable", key)
	}
	if n := rows(); n != "4" {
		t.Errorf("after serializable transactions a session has %s rows", n)
	}
	key = commits("read committed", key)
	if n := rows(); n != "1" {
		t.Errorf("a session has %s rows", n)
	}

	// What a resolver wrote outlives the session's later commits, for a day.
	w.expect(commit.Aborted, commit.Evidence{Mode: commit.Marker, Key: key, NotReadOnly: true}, w.reign())
	commits("read committed", next(key))
	if n := rows(); n != "2" {
		t.Errorf("%s rows with a resolver's", n)
	}
	for _, sweep := range []struct {
		name string
		run  func()
	}{
		{"a session's first marker", func() { commits("read committed", newKey()) }},
		{"a session's first marker under repeatable read", func() { commits("repeatable read", newKey()) }},
		{"a resolver", func() {
			w.expect(commit.Aborted, commit.Evidence{Mode: commit.Marker, Key: newKey(), NotReadOnly: true}, w.reign())
		}},
	} {
		admin.run("truncate fairlead.commits; insert into fairlead.commits select gen_random_uuid(), 1, i % 2 = 0, now() - case when i <= 30 then interval '25h' else interval '23h' end from generate_series(1, 40) i")
		sweep.run()
		if n := rows(); n != "11" {
			t.Errorf("%s leaves %s rows, want the 10 young ones and its own", sweep.name, n)
		}
	}
	// However large the table is, all of it is swept in the end.
	admin.run("truncate fairlead.commits; insert into fairlead.commits select gen_random_uuid(), 1, false, now() - interval '25h' from generate_series(1, 10000)")
	admin.run("do $$ begin for i in 1..1000 loop perform fairlead.sweep(); end loop; end $$")
	if n := admin.run("select count(*) < 1000 from fairlead.commits"); n != "t" {
		t.Errorf("%s rows are left", rows())
	}
	admin.run("insert into fairlead.commits values (gen_random_uuid(), 1)")
	old := admin.run("select count(*) - 1 from fairlead.commits")
	if n := admin.run("select fairlead.prune()"); n != old || rows() != "1" {
		t.Errorf("%s rows of %s were pruned, and %s are left", n, old, rows())
	}

	// A long transaction's row is as young as its commit.
	began := c.run("begin; select now()")
	e := c.inject(commit.Marker, newKey())
	c.run("commit")
	if young := admin.run("select created > '" + began + "' from fairlead.commits where session = '" + string(e.Key.Params()[0]) + "'"); young != "t" {
		t.Errorf("a row is as old as its transaction")
	}
}

func TestAMarkerWaitsForNoLostTransaction(t *testing.T) {
	w := shared(t)
	c := w.app(w.Writer())
	key := newKey()
	c.run("begin")
	c.inject(commit.Marker, key)
	c.run("commit")
	// The next one is lost after its marker, which deleted the first one's row, and its backend lives on.
	key = next(key)
	lost := w.app(w.Writer())
	lost.run("begin")
	lost.inject(commit.Marker, key)
	for _, isolation := range isolations {
		key = next(key)
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		other := w.app(w.Writer())
		other.run("set lock_timeout = '5s'; begin isolation level " + isolation)
		other.inject(commit.Marker, key)
		other.run("commit")
		cancel()
		if ctx.Err() == context.DeadlineExceeded {
			t.Errorf("%s: it waited", isolation)
		}
	}
	lost.run("commit")
}

func TestAMarkerDoesNotFailForRowsThatOthersDeleted(t *testing.T) {
	w := shared(t)
	c, admin := w.app(w.Writer()), w.admin(w.Writer())
	key := newKey()
	c.run("begin")
	c.inject(commit.Marker, key)
	c.run("commit")
	for _, isolation := range isolations {
		c.run("begin isolation level " + isolation + "; select count(*) from t")
		admin.run("delete from fairlead.commits")
		key = next(key)
		c.inject(commit.Marker, key)
		c.run("commit")
	}
}

func TestDecidingGivesUpWithItsContext(t *testing.T) {
	w := shared(t)
	old := w.app(w.Writer())
	old.run("begin; insert into t values ('x')")
	for _, m := range []commit.Mode{commit.Marker, commit.LSN} {
		e := old.inject(m, newKey())
		ctx, cancel := context.WithTimeout(w.ctx, 150*time.Millisecond)
		o, err := commit.Decide(ctx, w.app(w.Writer()), e, w.reign())
		if o != commit.Unknown || err == nil {
			t.Errorf("%v: %v, %v", m, o, err)
		}
		if m == commit.LSN && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: %v", m, err)
		}
		cancel()
	}
}

func TestMarkersMakeNoSerializableTransactionFail(t *testing.T) {
	w := shared(t)
	var all []*conn
	var keys []commit.Key
	for range 3 {
		all, keys = append(all, w.app(w.Writer())), append(keys, newKey())
	}
	for range 4 {
		for i, c := range all {
			c.run("begin isolation level serializable; insert into t values ('x')")
			c.inject(commit.Marker, keys[i])
			keys[i] = next(keys[i])
		}
		// Each would have read what the next one wrote. If the last one commits first, the one in the middle cannot.
		for i := range all {
			all[len(all)-1-i].run("commit")
		}
	}
}

func TestAMarkerReadsNoMoreUnderALongTransaction(t *testing.T) {
	w := shared(t)
	long, c := w.app(w.Writer()), w.app(w.Writer())
	w.admin(w.Writer()).run("vacuum analyze fairlead.commits")
	long.run("begin isolation level repeatable read; select count(*) from t") // from now on nothing can be vacuumed away
	read := func() int {
		n, err := strconv.Atoi(c.run("select sum(pg_stat_get_xact_tuples_returned(oid)) from pg_class where relname in ('commits', 'commits_pkey')"))
		w.must(err)
		return n
	}
	key := newKey()
	for i := range 200 {
		c.run("begin")
		before := read()
		c.inject(commit.Marker, key)
		if n := read() - before; n > 150 {
			t.Fatalf("the marker after %d others has read %d rows", i, n)
		}
		c.run("commit")
		key = next(key)
	}
	long.run("commit")
}
