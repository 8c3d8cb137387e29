package demo

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// After an error a worker waits, longer each time in a row, before it goes on with its next operation. Sixteen workers
// that log in again and again as fast as they can would take the machine from the other contestants.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 400 * time.Millisecond
)

// load is the work that one contestant does.
type load struct {
	entry
	db        *sql.DB
	workers   int
	pace      time.Duration // from the begin of an operation to the begin of the next, at the fastest
	opTimeout time.Duration
	began     time.Time
	meter     meter
	logs      []workerLog // one for each worker, who owns it until the load has ended
}

type workerLog struct {
	ops    []Op
	causes map[string]int
}

// run works until stop is closed; then each worker ends its operation, for as long as ctx lets it.
func (l *load) run(ctx context.Context, stop <-chan struct{}) {
	l.logs = make([]workerLog, l.workers)
	var wg sync.WaitGroup
	for i := range l.workers {
		wg.Go(func() { l.work(ctx, stop, i) })
	}
	wg.Wait()
}

func (l *load) work(ctx context.Context, stop <-chan struct{}, worker int) {
	log := &l.logs[worker]
	log.causes = make(map[string]int)
	next := l.began.Add(l.pace * time.Duration(worker) / time.Duration(l.workers))
	failed := 0
	for seq := worker; ; seq++ {
		if !sleep(ctx, stop, time.Until(next)) {
			return
		}
		begin := time.Now()
		op, err := l.do(ctx, ID{worker, seq}, Kind(seq%int(kinds)))
		op.End, op.Took = time.Since(l.began), time.Since(begin)
		log.ops = append(log.ops, op)
		l.meter.note(op)
		next = begin.Add(l.pace)
		if err == nil {
			failed = 0
		} else {
			log.causes[cause(err)]++
			next = time.Now().Add(min(firstPause<<min(failed, 8), lastPause))
			failed++
		}
	}
}

func (l *load) do(ctx context.Context, id ID, kind Kind) (Op, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opTimeout)
	defer cancel()
	var err error
	commitSent := true
	switch kind {
	case Transaction:
		commitSent, err = l.transact(ctx, id)
	case Autocommit:
		_, err = l.db.ExecContext(ctx, insert, l.name, id.Worker, id.Seq)
	case Simple:
		// Nothing but numbers and a name of ours is put in, and pgx sends a statement without parameters as a simple query.
		_, err = l.db.ExecContext(ctx, fmt.Sprintf(insertSimple, l.name, id.Worker, id.Seq))
	case Read:
		var n int
		err = l.db.QueryRowContext(ctx, readCounter, l.name, id.Worker).Scan(&n)
	}
	return Op{ID: id, Kind: kind, Outcome: outcome(err, commitSent)}, err
}

func (l *load) transact(ctx context.Context, id ID) (commitSent bool, err error) {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	// Its error is of no use: the transaction has been committed, or has failed for a reason that is returned.
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, insert, l.name, id.Worker, id.Seq); err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, count, l.name, id.Worker); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// ops are all operations; the load must have ended.
func (l *load) ops() []Op {
	var all []Op
	for _, log := range l.logs {
		all = append(all, log.ops...)
	}
	return all
}

func (l *load) causes() map[string]int {
	sum := make(map[string]int)
	for _, log := range l.logs {
		for name, n := range log.causes {
			sum[name] += n
		}
	}
	return sum
}

// sleep returns false if there is nothing more to do.
func sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
	case <-ctx.Done():
	}
	select {
	case <-stop:
		return false
	default:
		return ctx.Err() == nil
	}
}

// The tables. The one for the writes has no unique constraint: a write that happens twice must be seen.
var schema = []string{
	"create schema demo",
	"create table demo.writes (driver text, worker int, seq int)",
	"create table demo.counters (driver text, worker int, n int not null, primary key (driver, worker))",
}

const (
	insert       = "insert into demo.writes (driver, worker, seq) values ($1, $2, $3)"
	insertSimple = "insert into demo.writes (driver, worker, seq) values ('%s', %d, %d)"
	count        = "update demo.counters set n = n + 1 where driver = $1 and worker = $2"
	readCounter  = "select n from demo.counters where driver = $1 and worker = $2"
	addCounters  = "insert into demo.counters select $1, w, 0 from generate_series(0, $2 - 1) w"
	readWrites   = "select worker, seq, count(*) from demo.writes where driver = $1 group by 1, 2"
	readCounters = "select worker, n from demo.counters where driver = $1"
)
