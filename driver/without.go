package driver

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fairlead-go/fairlead/internal/mount"
)

type withoutReplayKey struct{}

// WithoutReplay returns a context whose statements are not replayed when their server dies: for work that must not be
// begun a second time, such as a call of a function that has effects outside the database.
//
// What counts is the transaction: it is enough that one of its statements is run with the context, or BeginTx is. Lost
// before its commit was sent, it fails with SQLSTATE 40001, as it does without continuity; a single statement outside a
// transaction fails with 40001 if it only reads, and otherwise with 08007 if it may have taken effect. Commits in doubt
// are decided all the same, and sessions that are idle move on unseen. Since 40001 says that nothing was committed, RunTx
// does run the transaction again.
//
// pgx hands the context on through its Tracer, so this works with database/sql, pgx and pgxpool, for all that they trace:
// Exec, Query, QueryRow, Begin, Prepare, SendBatch. (COPY is never replayed.) It does not for what is done with pgconn
// directly, or with another driver through [Dialer].
//
// A tracer of the application's belongs in Config.Conn.Tracer; one for what [ConnConfig] or [PoolConfig] has returned is to be
// joined with the Tracer that is there: multitracer.New(cfg.Tracer, otelpgx.NewTracer()). On connections made without that Tracer,
// contexts cannot be told apart. WithoutReplay is not lost there: from its first use in the process, nothing on those
// connections is replayed, and the error's detail says why.
func WithoutReplay(ctx context.Context) context.Context {
	withoutReplayUsed.Store(true)
	return context.WithValue(ctx, withoutReplayKey{}, true)
}

// withoutReplayUsed is set by the first WithoutReplay of the process.
var withoutReplayUsed atomic.Bool

// heededKey marks the context of a connection that is made with the tracer that tells calls without replay.
type heededKey struct{}

// discern has DialFunc find out whether the tracer that heedWithoutReplay has set is still there: pgx calls a tracer before it dials, and dials with
// the context that the tracer returns. Where another one has taken its place, the mount cannot tell which calls are without replay.
func (p *pool) discern(dial pgconn.DialFunc) pgconn.DialFunc {
	var warned atomic.Bool
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if m, ok := conn.(*mount.Conn); ok && err == nil && ctx.Value(heededKey{}) == nil {
			m.Undiscerned(&withoutReplayUsed)
			if log := p.cfg.Logger; log != nil && warned.CompareAndSwap(false, true) {
				log.Warn("fairlead: a connection was made without the Tracer that Fairlead has set: driver.WithoutReplay, once it is used, ends all replays on it",
					"remedy", "set Config.Conn.Tracer, or join the tracers with pgx's multitracer.New")
			}
		}
		return conn, err
	}
}

func isWithoutReplay(ctx context.Context) bool { return ctx.Value(withoutReplayKey{}) != nil }

// withoutReplay tells the mount which calls have such a context, and each of the application's tracers what it would be
// told without.
type withoutReplay struct {
	query   pgx.QueryTracer
	batch   pgx.BatchTracer
	copy    pgx.CopyFromTracer
	prepare pgx.PrepareTracer
	connect pgx.ConnectTracer
	acquire pgxpool.AcquireTracer
	release pgxpool.ReleaseTracer
}

var (
	_ pgx.QueryTracer       = (*withoutReplay)(nil)
	_ pgx.BatchTracer       = (*withoutReplay)(nil)
	_ pgx.CopyFromTracer    = (*withoutReplay)(nil)
	_ pgx.PrepareTracer     = (*withoutReplay)(nil)
	_ pgx.ConnectTracer     = (*withoutReplay)(nil)
	_ pgxpool.AcquireTracer = (*withoutReplay)(nil)
	_ pgxpool.ReleaseTracer = (*withoutReplay)(nil)
)

// heedWithoutReplay puts itself in front of the application's tracer, which may be nil.
func heedWithoutReplay(t pgx.QueryTracer) pgx.QueryTracer {
	w := &withoutReplay{query: t}
	w.batch, _ = t.(pgx.BatchTracer)
	w.copy, _ = t.(pgx.CopyFromTracer)
	w.prepare, _ = t.(pgx.PrepareTracer)
	w.connect, _ = t.(pgx.ConnectTracer)
	w.acquire, _ = t.(pgxpool.AcquireTracer)
	w.release, _ = t.(pgxpool.ReleaseTracer)
	return w
}

// begin and end are around each call. Most have no such context, and must cost next to nothing.
func (w *withoutReplay) begin(ctx context.Context, conn *pgx.Conn) {
	if isWithoutReplay(ctx) {
		if m, ok := conn.PgConn().Conn().(*mount.Conn); ok {
			m.BeginWithoutReplay()
		}
	}
}

func (w *withoutReplay) end(ctx context.Context, conn *pgx.Conn) {
	if isWithoutReplay(ctx) {
		if m, ok := conn.PgConn().Conn().(*mount.Conn); ok {
			m.EndWithoutReplay()
		}
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (w *withoutReplay) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	w.begin(ctx, conn)
	if w.query == nil {
		return ctx
	}
	return w.query.TraceQueryStart(ctx, conn, data)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (w *withoutReplay) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	if w.query != nil {
		w.query.TraceQueryEnd(ctx, conn, data)
	}
	w.end(ctx, conn)
}

// TraceBatchStart implements pgx.BatchTracer.
func (w *withoutReplay) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	w.begin(ctx, conn)
	if w.batch == nil {
		return ctx
	}
	return w.batch.TraceBatchStart(ctx, conn, data)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (w *withoutReplay) TraceBatchQuery(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	if w.batch != nil {
		w.batch.TraceBatchQuery(ctx, conn, data)
	}
}

// TraceBatchEnd implements pgx.BatchTracer.
func (w *withoutReplay) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	if w.batch != nil {
		w.batch.TraceBatchEnd(ctx, conn, data)
	}
	w.end(ctx, conn)
}

// TraceCopyFromStart implements pgx.CopyFromTracer. COPY is not replayed anyway, and pgx does not tell the end of one that
// fails early.
func (w *withoutReplay) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	if w.copy == nil {
		return ctx
	}
	return w.copy.TraceCopyFromStart(ctx, conn, data)
}

// TraceCopyFromEnd implements pgx.CopyFromTracer.
func (w *withoutReplay) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromEndData) {
	if w.copy != nil {
		w.copy.TraceCopyFromEnd(ctx, conn, data)
	}
}

// TracePrepareStart implements pgx.PrepareTracer.
func (w *withoutReplay) TracePrepareStart(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	w.begin(ctx, conn)
	if w.prepare == nil {
		return ctx
	}
	return w.prepare.TracePrepareStart(ctx, conn, data)
}

// TracePrepareEnd implements pgx.PrepareTracer.
func (w *withoutReplay) TracePrepareEnd(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareEndData) {
	if w.prepare != nil {
		w.prepare.TracePrepareEnd(ctx, conn, data)
	}
	w.end(ctx, conn)
}

// TraceConnectStart implements pgx.ConnectTracer.
func (w *withoutReplay) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	ctx = context.WithValue(ctx, heededKey{}, true)
	if w.connect == nil {
		return ctx
	}
	return w.connect.TraceConnectStart(ctx, data)
}

// TraceConnectEnd implements pgx.ConnectTracer.
func (w *withoutReplay) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if w.connect != nil {
		w.connect.TraceConnectEnd(ctx, data)
	}
}

// TraceAcquireStart implements pgxpool.AcquireTracer.
func (w *withoutReplay) TraceAcquireStart(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireStartData) context.Context {
	if w.acquire == nil {
		return ctx
	}
	return w.acquire.TraceAcquireStart(ctx, pool, data)
}

// TraceAcquireEnd implements pgxpool.AcquireTracer.
func (w *withoutReplay) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	if w.acquire != nil {
		w.acquire.TraceAcquireEnd(ctx, pool, data)
	}
}

// TraceRelease implements pgxpool.ReleaseTracer.
func (w *withoutReplay) TraceRelease(pool *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	if w.release != nil {
		w.release.TraceRelease(pool, data)
	}
}
