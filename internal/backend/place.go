package backend

import (
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/topology"
)

// leaveStep is the time between two sessions that leave an instance that would still do, for one that is wanted more: logins
// come one after the other then, and not all at once.
const leaveStep = 25 * time.Millisecond

// Moved closes what the new snapshot says cannot be used any more, and marks what is to be left. It is
// topology.Config.OnChange.
func (r *Registry) Moved(_, now *topology.Snapshot) {
	if now == nil || now.Kind == topology.KindNone {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next := time.Now()
	for u := range r.upstreams {
		why, leave := place(u.Instance, u.want, now)
		switch {
		case why != nil:
			u.Kill(why)
		case !leave:
			u.stay()
		case u.leaveAt.Load() != 0:
		case u.want == topology.WantReader:
			u.leave(time.Now())
		default:
			u.leave(next)
			next = next.Add(leaveStep)
		}
	}
	for a := range r.dialing {
		if why, _ := place(topology.Instance{ID: a.instance}, a.want, now); why != nil {
			a.cancel(why)
		}
	}
}

// place says why a connection to an instance is of no use any more, nil when it is, and whether it is to be left once its
// session is idle.
func place(in topology.Instance, want topology.Want, now *topology.Snapshot) (why error, leave bool) {
	writer, ok := now.Writer()
	if want == topology.WantWriter {
		switch {
		case !ok: // nobody is better than the one we have
		case writer.ID != in.ID:
			return fmt.Errorf("%w: the writer is %s now, not %s", ErrKilled, writer.ID, in.ID), false
		case in.Boot != "" && writer.Boot != "" && writer.Boot != in.Boot:
			return fmt.Errorf("%w: %s was started again", ErrKilled, in.ID), false
		}
		return nil, false
	}
	if !ok && want != topology.WantReader {
		return nil, false
	}
	cur, known := now.Find(in.ID)
	switch {
	case !known && ok:
		return fmt.Errorf("%w: %s is not in the cluster any more", ErrKilled, in.ID), false
	case cur.Role == topology.Unknown && ok:
		return fmt.Errorf("%w: %s does not answer", ErrKilled, in.ID), false
	case cur.Role != topology.Writer:
		return nil, false
	}
	switch want {
	case topology.WantReader:
		return nil, true
	case topology.PreferReader:
		return nil, len(now.Readers()) > 0
	}
	return nil, false
}

// leave marks the upstream as one that is to be left from a time on. The registry's lock is held.
func (u *Upstream) leave(from time.Time) {
	u.leaveAt.Store(from.UnixNano())
	if f := u.onLeave; f != nil {
		u.leaving = time.AfterFunc(time.Until(from), f)
	}
}

// stay takes leave back. The registry's lock is held.
func (u *Upstream) stay() {
	if u.leaveAt.Swap(0) != 0 && u.leaving != nil {
		u.leaving.Stop()
		u.leaving = nil
	}
}

// Leaves reports whether the upstream is to be left as soon as its session is idle: its instance is not of the wanted kind any
// more, or one is there that is wanted more.
func (u *Upstream) Leaves() bool {
	at := u.leaveAt.Load()
	return at != 0 && at <= time.Now().UnixNano()
}

// OnLeave has f called, in a goroutine of its own, when the upstream begins to be one that Leaves.
func (u *Upstream) OnLeave(f func()) {
	u.registry.mu.Lock()
	defer u.registry.mu.Unlock()
	if u.onLeave = f; u.leaveAt.Load() != 0 && u.leaving == nil {
		u.leave(time.Unix(0, u.leaveAt.Load()))
	}
}
