package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// These faults make sure of what the others meet by chance, each for one of the driver's precautions.
var serverFaults = []fault{
	{"behind", behind},
	{"behind-twice", behindTwice},
	{"unreplicated", unreplicated},
	{"late-commit", lateCommit},
	{"cut-client", cutClient},
	{"thaw-suspicion", thawSuspicion},
}

// stopped stops server processes while do runs.
func stopped(pids []int, do func() error) (err error) {
	var still []int
	defer func() {
		for _, pid := range still {
			// One that has ended meanwhile needs no more.
			if e := syscall.Kill(pid, syscall.SIGCONT); e != nil && !errors.Is(e, syscall.ESRCH) {
				err = errors.Join(err, fmt.Errorf("let process %d go on: %w", pid, e))
			}
		}
	}()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		still = append(still, pid)
	}
	return do()
}

// pids asks an instance for process numbers.
func (w *world) pids(ctx context.Context, in *rdstest.Instance, query string) ([]int, error) {
	conn, err := w.AdminConn(ctx, in)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("ask %s for process numbers: %w", in, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// unfollowed runs do while the writer sends its readers nothing and does not say so: commits wait for them.
func (w *world) unfollowed(ctx context.Context, do func() error) error {
	senders, err := w.pids(ctx, w.Writer(), "select pid from pg_stat_replication")
	if err != nil {
		return err
	}
	return stopped(senders, do)
}

// loseBehind takes the writer away when commits are in flight that no reader has.
func (w *world) loseBehind(ctx context.Context) error {
	return w.unfollowed(ctx, func() error {
		if err := sleep(ctx, 150*time.Millisecond); err != nil {
			return err
		}
		return w.Crash(ctx, w.Writer())
	})
}

// behind has the new writer give out again the transaction IDs of commits that are in doubt, before anybody asks for them.
func behind(ctx context.Context, w *world) error {
	return w.unseen(ctx, func() error { return nil })
}

// behindTwice is behind with a second failover before any client has seen the first new writer, which has gone past the
// position of every commit that is in doubt.
func behindTwice(ctx context.Context, w *world) error {
	return w.unseen(ctx, func() error { return w.failover(ctx) })
}

// unseen loses the writer behind, has the next one give out transaction IDs, and goes on as then says before a client can see
// that one.
func (w *world) unseen(ctx context.Context, then func() error) error {
	if err := w.loseBehind(ctx); err != nil {
		return err
	}
	// What a new writer says of its beginning counts only if it was seen as a reader before.
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	for _, in := range w.Readers() {
		in.Front().Silence(front.Hold)
	}
	defer w.pass()
	if err := w.failover(ctx); err != nil {
		return err
	}
	if err := w.burn(ctx, 200); err != nil {
		return err
	}
	return then()
}

// burn commits transactions that nobody asks for.
func (w *world) burn(ctx context.Context, n int) error {
	conn, err := w.AdminConn(ctx, w.Writer())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "create table if not exists torture.burnt (i int)")
	if err == nil {
		_, err = conn.Exec(ctx, fmt.Sprintf("do $$ begin for i in 1..%d loop insert into torture.burnt values (i); commit; end loop; end $$", n))
	}
	if err != nil {
		return fmt.Errorf("burn transaction IDs on %s: %w", w.Writer(), err)
	}
	return nil
}

// pass ends what was done to fronts by hand.
func (w *world) pass() {
	for _, in := range w.Instances() {
		if in.State() == rdstest.Running {
			in.Front().Pass()
		}
	}
}

// terminatePatience is longer than the driver lets the server process of a commit in doubt go on before it ends it.
const terminatePatience = 3 * time.Second

// unreplicated cuts all connections while commits wait for a reader, and loses the writer before a reader has them, when clients
// have had the time to find them committed there.
func unreplicated(ctx context.Context, w *world) error {
	err := w.unfollowed(ctx, func() error {
		if err := sleep(ctx, 150*time.Millisecond); err != nil {
			return err
		}
		w.Writer().Front().Reset()
		if err := sleep(ctx, terminatePatience); err != nil {
			return err
		}
		return w.Crash(ctx, w.Writer())
	})
	if err != nil {
		return err
	}
	return w.failover(ctx)
}

const (
	terminators = "function pg_catalog.pg_terminate_backend(integer, bigint)"
	waitsInside = "select pid from pg_stat_activity where usename = 'app' and state = 'idle in transaction' and wait_event = 'ClientRead'"
)

// lateCommit cuts connections whose server processes get to read what they were sent a second later, and cannot be ended by
// their own role before.
func lateCommit(ctx context.Context, w *world) (err error) {
	admin, err := w.AdminConn(ctx, w.Writer())
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "revoke execute on "+terminators+" from public"); err != nil {
		return fmt.Errorf("forbid to end server processes: %w", err)
	}
	defer func() {
		if _, grantErr := admin.Exec(ctx, "grant execute on "+terminators+" to public"); grantErr != nil {
			err = errors.Join(err, fmt.Errorf("allow to end server processes: %w", grantErr))
		}
	}()
	var list []int
	for range 100 {
		rows, err := admin.Query(ctx, waitsInside)
		if err != nil {
			return fmt.Errorf("find open transactions: %w", err)
		}
		if list, err = pgx.CollectRows(rows, pgx.RowTo[int]); err != nil {
			return fmt.Errorf("find open transactions: %w", err)
		}
		if len(list) >= 3 {
			break
		}
	}
	f := w.Writer().Front()
	var cuts []*front.Pending
	for range 2 * len(list) {
		cuts = append(cuts, f.Cut(front.Cut{From: front.Client, When: front.After, How: front.ResetClient, Match: func(m front.Message) bool {
			return m.Type == 'Q' && strings.HasPrefix(strings.ToLower(string(m.Body)), "commit")
		}}))
	}
	err = stopped(list, func() error {
		err := sleep(ctx, 300*time.Millisecond)
		n := 0
		for _, p := range cuts {
			if !p.Stop() {
				n++
			}
		}
		w.note = fmt.Sprintf("of %d open transactions, %d commits cut", len(list), n)
		return errors.Join(err, sleep(ctx, 2*time.Second))
	})
	// They get to read now what they were sent, and nobody waits for their answers.
	return errors.Join(err, sleep(ctx, 500*time.Millisecond))
}

// cutClient cuts a connection so that only the client notices: the server process goes on to hold its locks.
func cutClient(ctx context.Context, w *world) error {
	p := w.armed(front.ResetClient)
	defer p.Stop()
	return w.fired(ctx, p)
}

// thawSuspicion has clients look for the writer while an old one still takes itself for it.
func thawSuspicion(ctx context.Context, w *world) error {
	old := w.Writer()
	if err := w.Freeze(ctx, old); err != nil {
		return err
	}
	if err := w.failover(ctx); err != nil {
		return errors.Join(err, w.Thaw(ctx, old))
	}
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if err := w.Thaw(ctx, old); err != nil {
		return err
	}
	for range 4 {
		w.Writer().Front().Reset()
		if err := sleep(ctx, 180*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
