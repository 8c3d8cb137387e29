package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/topology"
)

const (
	// warnAfter is how long a first login waits before a warning, and warnEvery how often there is another one.
	warnAfter, warnEvery = 2 * time.Second, 10 * time.Second
)

// NotLoggedInError says that no connection of the wanted kind was made in time, or that trying on is pointless.
type NotLoggedInError struct {
	Want topology.Want
	Err  error
	// Waited is how long it was waited for, 0 if it was not.
	Waited time.Duration
}

// Error returns what was waited for, how long, what stood in the way, and the remedy.
func (e *NotLoggedInError) Error() string {
	text := fmt.Sprintf("fairlead: no %s", e.Want)
	if e.Waited > 0 {
		text += fmt.Sprintf(" after %v", e.Waited.Round(min(100*time.Millisecond, e.Waited)))
	}
	text += fmt.Sprintf(": %v", e.Err)
	if r := remedy(e.Err); r != "" {
		text += "; " + r
	}
	return text
}

// Unwrap gives the server's own error where there is one, and what was missing to log in with. That the time was over is in the text only: pgx would put its own
// words in the place of an error that is a timeout, and with them hide what stood in the way.
func (e *NotLoggedInError) Unwrap() []error {
	var all []error
	if pg := (*pgconn.PgError)(nil); errors.As(e.Err, &pg) {
		all = append(all, pg)
	}
	if c, passes := lacking(e.Err); c != nil && !passes {
		all = append(all, c)
	}
	return all
}

// Is reports whether the caller's context has ended the wait. The type is no net.Error on purpose: see Unwrap.
func (e *NotLoggedInError) Is(target error) bool {
	return (target == context.DeadlineExceeded || target == context.Canceled) && errors.Is(e.Err, target)
}

// unheardError ends a login to a cluster of which no writer was ever seen. It is a timeout to callers, as net.Error.
type unheardError struct{ text, remedy string }

func (e unheardError) Error() string { return e.text }
func (unheardError) Timeout() bool   { return true }
func (unheardError) Temporary() bool { return true }

// wait is one call of Connect.
type wait struct {
	l      *Login
	begun  time.Time
	failed failures
	over   bool      // patience has ended the last login
	until  time.Time // when patience ends; the zero time: it does not count, or no more
}

func (l *Login) newWait() *wait {
	w := &wait{l: l, begun: time.Now(), failed: make(failures)}
	if !l.reached.Load() {
		w.until = w.begun.Add(l.patience())
	}
	return w
}

// patience is how long a cluster of which no writer was ever seen is waited for without any sign that there will be one: connect_timeout for each
// host.
func (l *Login) patience() time.Duration { return time.Duration(len(l.hosts)) * l.base.ConnectTimeout }

var errPatience = errors.New("no writer was ever seen here")

// pick waits for an instance of the wanted kind. While it waits it warns, and it ends when there is no hope.
func (w *wait) pick(ctx context.Context, after topology.Ticket) (topology.Instance, *topology.Snapshot, error) {
	for {
		if err := w.hopeless(); err != nil {
			return topology.Instance{}, nil, err
		}
		look, stop := w.untilNextLook(ctx)
		in, snap, err := w.l.pick(look, after)
		paused := look.Err() != nil && ctx.Err() == nil
		stop()
		if err == nil || !paused {
			return in, snap, err
		}
		w.warn()
	}
}

// untilNextLook is ctx, bounded by when there is something to look at. Only a first login looks.
func (w *wait) untilNextLook(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.l.reached.Load() {
		return context.WithCancel(ctx)
	}
	next := time.Now().Add(warnAfter)
	if !w.until.IsZero() && w.until.Before(next) {
		next = w.until
	}
	return context.WithDeadlineCause(ctx, next, errPatience)
}

// connect logs in to an instance. It does not take longer than patience has.
func (w *wait) connect(ctx context.Context, in topology.Instance, snap *topology.Snapshot, owner sync.Locker) (*Upstream, error) {
	bound, stop := ctx, context.CancelFunc(func() {})
	if !w.until.IsZero() && snap.Epoch == 0 {
		bound, stop = context.WithDeadlineCause(ctx, w.until, errPatience)
	}
	defer stop()
	up, err := w.l.connectOne(bound, in, snap, owner)
	w.over = err != nil && bound.Err() != nil && ctx.Err() == nil
	if err != nil {
		w.warn()
	}
	return up, err
}

// hopeless returns why it is not waited any longer, once patience is over: the DSN bounds it, no host has a name that is known, or nothing that answers
// will be a writer by itself. Otherwise the caller's context alone bounds the wait from there.
func (w *wait) hopeless() error {
	if w.until.IsZero() || time.Now().Before(w.until) {
		return nil
	}
	w.until = time.Time{}
	snap := w.l.Cluster.Snapshot()
	if snap.Epoch > 0 {
		return nil
	}
	reasons := snap.Failures()
	if snap.Kind == topology.KindNone {
		reasons = w.failed.list()
	}
	pending, unknown := len(reasons) == 0, 0
	for _, err := range reasons {
		e, _ := lacking(err)
		pending = pending || errors.Is(err, topology.ErrNotAsked) || e == nil && topology.MayServeLater(err)
		if isUnknownHost(err) {
			unknown++
		}
	}
	switch {
	case w.l.timeout:
		return w.unheard(unheardError{text: fmt.Sprintf("connect_timeout (%v for each host) is over, and %v", w.l.base.ConnectTimeout, errPatience)})
	case unknown > 0 && unknown == len(reasons):
		return w.unheard(unheardError{text: "DNS does not know the host"})
	case pending:
		return nil
	}
	return w.unheard(unheardError{
		fmt.Sprintf("%v, and no host that answers is going to be a %v by itself", errPatience, w.l.Want),
		"name the hosts of all instances in the DSN, or their cluster endpoint, or change target_session_attrs",
	})
}

// unheard adds to the reason for the end of patience what each instance last said.
func (w *wait) unheard(why unheardError) error {
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	_, _, err := w.l.Cluster.Pick(ended, w.l.Want, 0)
	if err == nil { // KindNone, of which nothing more is known
		err = why
	}
	return err
}

// gaveUp is the error of a wait that has ended: with ctx, with patience, or with a refusal.
func (w *wait) gaveUp(ctx context.Context, err error) error {
	e := &NotLoggedInError{Want: w.l.Want, Err: errors.Join(err, w.failed.join())}
	if unheard := (unheardError{}); ctx.Err() != nil || errors.As(err, &unheard) {
		e.Waited = time.Since(w.begun)
	}
	return e
}

// warn reports a first login that waits, once in a while for all callers of the Login together.
func (w *wait) warn() {
	waited := time.Since(w.begun)
	next := w.l.warnAt.Load()
	now := time.Now()
	if w.l.reached.Load() || waited < warnAfter || now.UnixNano() < next || !w.l.warnAt.CompareAndSwap(next, now.Add(warnEvery).UnixNano()) {
		return
	}
	log := w.l.Logger
	if log == nil {
		log = slog.Default()
	}
	err := errors.Join(append(w.l.Cluster.Snapshot().Failures(), w.failed.list()...)...)
	text := "no answer yet"
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	log.Warn("fairlead: waiting for the database", "cluster", w.l.Cluster.Name(), "want", w.l.Want.String(), "waited", waited.Round(100*time.Millisecond),
		"error", text, "remedy", remedy(err))
}

// remedy says what mends the reason that a login failed for; "" if that is in the reason itself.
func remedy(err error) string {
	var pg *pgconn.PgError
	timeout, unheard := (net.Error)(nil), unheardError{}
	switch {
	case err == nil:
		return ""
	case errors.As(err, &unheard) && unheard.remedy != "":
		return unheard.remedy
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "53"):
		return "the server has no room for another connection: let fewer processes or smaller pools connect, or raise its max_connections"
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "57P0"):
		return "the server is starting, stopping or resuming: raise failover_timeout if that takes longer"
	case errors.As(err, &pg):
		return ""
	case isUnknownHost(err):
		return "check the host's name in the DSN"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check host and port, and that the server runs; raise failover_timeout if it takes longer to start"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "check host and port, that the way there is open (security groups), and that a host is the writer's; raise failover_timeout if the server takes longer to resume"
	}
	return ""
}

// isFull reports whether a server has no room for a connection.
func isFull(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.HasPrefix(pg.Code, "53")
}

// isUnknownHost reports whether DNS says that there is no such name.
func isUnknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
