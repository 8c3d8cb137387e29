package boundaries

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// outcome is all that is known of a run.
type outcome struct {
	told     []told
	err      error // that the work ended with
	after    error // of the session behind it
	times    []int // how often each effect is there
	torn     bool  // a part of an effect is there, or more than belongs to it
	messages []Message
	reasons  []string // the driver's own counts of what became of the session
	missed   bool     // the cut was not reached
}

// cut is what is to happen to a run.
type cut struct {
	point
	how front.Manner
}

// run does a unit once, and cuts its connection if at is not nil. It works on c.kept, if there is one.
func (c *cutter) run(ctx context.Context, u *unit, client string, at *cut) (*outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	c.result.Runs++
	r := &run{id: c.result.Runs, told: make([]told, u.effects)}
	for _, st := range u.before {
		if _, err := c.admin.Exec(ctx, r.sql(st)); err != nil {
			return nil, fmt.Errorf("prepare it: %w", err)
		}
	}
	word := r.sql("this is run $run.")
	t := listen(c.cluster.Writer().Front(), word)
	defer t.stop()
	if err := c.begin(ctx, client, word); err != nil {
		return nil, err
	}
	r.session = c.kept
	if err := t.start(); err != nil {
		return nil, err
	}
	o := &outcome{}
	if at == nil {
		o.err = u.body(ctx, r)
	} else {
		o.err, o.missed = c.underCut(t, at, func() error { return u.body(ctx, r) })
	}
	o.messages, o.told = t.stop(), r.told
	pid := 0
	pid, o.after = c.goOn(ctx, u, r, o.err)
	if u.fresh || o.after != nil || r.renew(ctx) != nil {
		c.end()
		pid = 0
	}
	// What the caller has waited for in vain must not keep its run from being judged.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), runTimeout)
	defer cancel()
	var err error
	if o.reasons, err = c.reasons(ctx); err != nil {
		return nil, err
	}
	return o, c.audit(ctx, u, r.id, pid, o)
}

// begin sees to it that there is a session, and says the word on it.
func (c *cutter) begin(ctx context.Context, client, word string) (err error) {
	if c.kept == nil {
		if c.kept, err = c.opener.open(ctx, client); err != nil {
			return err
		}
	}
	if err := c.kept.exec(ctx, "select '"+word+"'"); err != nil {
		return fmt.Errorf("begin the session: %w", err)
	}
	return nil
}

// end ends the session.
func (c *cutter) end() {
	if c.kept != nil {
		c.kept.close()
		c.kept = nil
	}
}

// underCut does work whose connection is cut.
func (c *cutter) underCut(t *tape, at *cut, work func() error) (err error, missed bool) {
	pending := t.cut(at.point, at.how)
	if at.how != front.Silent {
		err = work()
		return err, pending.Stop()
	}
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-pending.Done():
			time.Sleep(silence)
			t.front.Pass()
		case <-ended:
		}
	}()
	err = work()
	close(ended)
	<-watched
	if missed = pending.Stop(); !missed {
		<-pending.Done()
		t.front.Pass()
	}
	return err, missed
}

// goOn uses the session behind the work: it must be usable, whatever has become of that. pid is its server process.
func (c *cutter) goOn(ctx context.Context, u *unit, r *run, failed error) (pid int, err error) {
	if failed != nil {
		if err := r.exec(ctx, "rollback"); err != nil && !(u.leaves && sqlState(err) == codeStateLost) {
			return 0, fmt.Errorf("rollback: %w", err)
		}
	}
	const ask = "select pg_backend_pid()::text"
	got, err := r.query(ctx, ask)
	if u.leaves && sqlState(err) == codeStateLost {
		got, err = r.query(ctx, ask)
	}
	if err != nil {
		return 0, err
	}
	if len(got) != 1 {
		return 0, &wrongError{fmt.Sprintf("%s gave %q", ask, got)}
	}
	return strconv.Atoi(got[0])
}
