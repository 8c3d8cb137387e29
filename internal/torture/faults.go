package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// world is what faults happen to.
type world struct {
	*rdstest.Cluster
	rng  *rand.Rand
	note string // what the fault has chosen to do
}

// fault is one way in which a cluster fails. When run returns, there is a writer, or will be one soon.
type fault struct {
	name string
	run  func(ctx context.Context, w *world) error
}

var faults = []fault{
	{"crash", func(ctx context.Context, w *world) error { return w.lose(ctx, w.Crash) }},
	{"immediate", func(ctx context.Context, w *world) error {
		return w.lose(ctx, func(ctx context.Context, in *rdstest.Instance) error { return w.Shutdown(ctx, in, rdstest.Immediate) })
	}},
	{"fast", func(ctx context.Context, w *world) error {
		return w.lose(ctx, func(ctx context.Context, in *rdstest.Instance) error { return w.Shutdown(ctx, in, rdstest.Fast) })
	}},
	{"failover", func(ctx context.Context, w *world) error { return w.failover(ctx) }},
	{"switchover", switchover},
	{"freeze", freeze},
	{"freeze-briefly", freezeBriefly},
	{"partition-swallow", func(ctx context.Context, w *world) error { return w.partition(ctx, front.Swallow) }},
	{"partition-hold", func(ctx context.Context, w *world) error { return w.partition(ctx, front.Hold) }},
	{"partition-briefly", partitionBriefly},
	{"twice", twice},
	{"crash-promoted", crashPromoted},
	{"restart", func(ctx context.Context, w *world) error { return w.Restart(ctx, w.Writer()) }},
	{"crash-restart", crashRestart},
	{"reset", func(_ context.Context, w *world) error { w.Writer().Front().Reset(); return nil }},
	{"terminate", func(ctx context.Context, w *world) error { return w.backend(ctx, terminate) }},
	{"kill-backend", func(ctx context.Context, w *world) error {
		return w.backend(ctx, func(ctx context.Context, w *world, pid int) error { return w.CrashBackend(ctx, w.Writer(), pid) })
	}},
	{"cut", cut},
	{"cut-crash", cutCrash},
}

func init() { faults = append(faults, serverFaults...) }

// Faults are the names of what can happen.
func Faults() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// lose takes the writer away and has another take over.
func (w *world) lose(ctx context.Context, act func(context.Context, *rdstest.Instance) error) error {
	if err := act(ctx, w.Writer()); err != nil {
		return err
	}
	return w.failover(ctx)
}

func (w *world) failover(ctx context.Context) error {
	_, err := w.Failover(ctx)
	return err
}

// pause waits for up to d.
func (w *world) pause(ctx context.Context, d time.Duration) error {
	return sleep(ctx, time.Duration(w.rng.Int64N(int64(d))))
}

func switchover(ctx context.Context, w *world) error {
	_, err := w.Switchover(ctx)
	return err
}

func freeze(ctx context.Context, w *world) error {
	old := w.Writer()
	if err := w.Freeze(ctx, old); err != nil {
		return err
	}
	err := w.pause(ctx, 700*time.Millisecond)
	if err == nil {
		err = w.failover(ctx)
	}
	if err == nil {
		err = w.pause(ctx, 700*time.Millisecond)
	}
	return errors.Join(err, w.Thaw(ctx, old))
}

func freezeBriefly(ctx context.Context, w *world) error {
	in := w.Writer()
	if err := w.Freeze(ctx, in); err != nil {
		return err
	}
	return errors.Join(w.pause(ctx, 2*time.Second), w.Thaw(ctx, in))
}

func (w *world) partition(ctx context.Context, s front.Silence) error {
	old := w.Writer()
	if err := w.PartitionAs(ctx, old, s); err != nil {
		return err
	}
	err := w.pause(ctx, 700*time.Millisecond)
	if err == nil {
		err = w.failover(ctx)
	}
	if err == nil {
		err = w.pause(ctx, 700*time.Millisecond)
	}
	return errors.Join(err, w.Heal(ctx, old))
}

func partitionBriefly(ctx context.Context, w *world) error {
	in := w.Writer()
	if err := w.PartitionAs(ctx, in, []front.Silence{front.Swallow, front.Hold, front.Unplug}[w.rng.IntN(3)]); err != nil {
		return err
	}
	return errors.Join(w.pause(ctx, 2*time.Second), w.Heal(ctx, in))
}

func twice(ctx context.Context, w *world) error {
	if err := w.lose(ctx, w.Crash); err != nil {
		return err
	}
	if err := w.pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	return w.failover(ctx)
}

func crashPromoted(ctx context.Context, w *world) error {
	if err := w.lose(ctx, w.Crash); err != nil {
		return err
	}
	if err := w.pause(ctx, 50*time.Millisecond); err != nil {
		return err
	}
	in := w.Writer()
	if err := w.Crash(ctx, in); err != nil {
		return err
	}
	if w.rng.IntN(2) == 0 {
		return w.Restart(ctx, in)
	}
	return w.failover(ctx)
}

func crashRestart(ctx context.Context, w *world) error {
	in := w.Writer()
	if err := w.Crash(ctx, in); err != nil {
		return err
	}
	return w.Restart(ctx, in)
}

// backend does something to a server process that has work, if there is one.
func (w *world) backend(ctx context.Context, do func(context.Context, *world, int) error) error {
	conn, err := w.AdminConn(ctx, w.Writer())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var pid int
	for range 20 {
		err := conn.QueryRow(ctx, `select coalesce((select pid from pg_stat_activity where usename = 'app' and backend_type = 'client backend'
			order by state = 'idle', random() limit 1), 0)`).Scan(&pid)
		if err != nil {
			return fmt.Errorf("choose a server process: %w", err)
		}
		if pid != 0 {
			if err := do(ctx, w, pid); !errors.Is(err, rdstest.ErrNoBackend) {
				return err // else it has ended meanwhile
			}
		}
		if err := w.pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func terminate(ctx context.Context, w *world, pid int) error {
	conn, err := w.AdminConn(ctx, w.Writer())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	w.note = "of a backend that was "
	var state string
	if err := conn.QueryRow(ctx, "select coalesce(state, '') || ' ' || coalesce(query, '') from pg_stat_activity where pid = $1 and pg_terminate_backend($1)", pid).Scan(&state); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	w.note += strings.Join(strings.Fields(state), " ")
	return nil
}

// cutPatience is how long a cut waits for its message.
const cutPatience = 3 * time.Second

// armed chooses a message and cuts the connection that gets there.
func (w *world) armed(manners ...front.Manner) *front.Pending {
	heads := []struct {
		from front.Side
		kind byte
		text string
	}{
		{front.Client, 'S', ""}, {front.Client, 'Q', "commit"}, {front.Client, 'Q', ""}, {front.Client, 'E', ""}, {front.Client, 'd', ""},
		{front.Client, 'c', ""}, {front.Server, 'C', "COMMIT"}, {front.Server, 'C', "INSERT"}, {front.Server, 'C', "ALTER"}, {front.Server, 'C', ""}, {front.Server, 'Z', ""},
		{front.Server, 'D', ""}, {front.Server, '2', ""},
	}
	h := heads[w.rng.IntN(len(heads))]
	c := front.Cut{
		From: h.from, N: 1 + w.rng.IntN(4), When: []front.Moment{front.Before, front.After}[w.rng.IntN(2)],
		How: manners[w.rng.IntN(len(manners))],
		Match: func(m front.Message) bool {
			return m.Type == h.kind && len(m.Body) >= len(h.text) && string(m.Body[:len(h.text)]) == h.text
		},
	}
	when := "before"
	if c.When == front.After {
		when = "after"
	}
	w.note = strings.Join(strings.Fields(fmt.Sprintf("%s %s's %c %s no. %d, %s", when, c.From, h.kind, h.text, c.N, c.How)), " ")
	return w.Writer().Front().Cut(c)
}

func cut(ctx context.Context, w *world) error {
	// Not silently: nothing can tell a connection that has died so from a statement that takes its time, as long as its
	// server is well.
	p := w.armed(front.ResetBoth, front.CloseBoth)
	defer p.Stop()
	return w.fired(ctx, p)
}

// fired waits for a cut, for a while.
func (w *world) fired(ctx context.Context, p *front.Pending) error {
	timer := time.NewTimer(cutPatience)
	defer timer.Stop()
	select {
	case <-p.Done():
	case <-timer.C:
		w.note += " (did not happen)"
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// cutCrash is a cut that is followed by the writer's end.
func cutCrash(ctx context.Context, w *world) error {
	p := w.armed(front.ResetBoth, front.CloseBoth, front.Silent)
	defer p.Stop()
	if err := w.fired(ctx, p); err != nil {
		return err
	}
	return w.lose(ctx, w.Crash)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
