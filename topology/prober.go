package topology

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Session is one probe connection to one instance. It is used by one goroutine at a time.
type Session interface {
	// Probe asks the server what it is. It returns soon after ctx has ended, with an error; after any error the session is
	// closed and not used again.
	Probe(ctx context.Context) (Report, error)
	// Close ends the connection without waiting for the server.
	Close() error
}

// watcher is a Session that tells that its server has ended it, or has something to say, though nothing was asked. Between watch
// and the stop that it returns the session is not used; news is nil where it cannot be told.
type watcher interface {
	watch() (news <-chan struct{}, stop func())
}

// Prober opens probe connections with the credentials of one pool.
type Prober interface {
	// Open connects and logs in. An error that says the server was reached and will go on refusing (wrong password, no
	// such database, TLS mismatch) is or wraps a [*LoginRefusedError], one that says it has no connection to spare a
	// [*BusyError]. With addrs empty it dials ep.Host by name.
	Open(ctx context.Context, ep Endpoint, addrs []netip.Addr) (Session, error)
}

// Report is what a server answered about itself, and on Aurora about the others.
type Report struct {
	Kind       Kind       // what the server is: KindAurora, KindReplication, or KindNone when it cannot be asked
	ID         string     // Aurora: its own server_id
	Addr       netip.Addr // the address that answered, if known
	InRecovery bool       // it is a replica
	ReadOnly   bool       // transactions are read-only by default
	Timeline   uint32     // 0: unknown
	SystemID   string     // "": unknown
	Boot       string     // "": unknown
	Lag        time.Duration
	// RecoveryEnd is the position in the WAL at which the recovery ended that this run of the server began with, 0 if it began
	// with none. Not of a replica, and not known everywhere.
	RecoveryEnd      uint64
	RecoveryEndKnown bool
	WriterID         string   // Aurora: who it believes is the writer
	Members          []Member // Aurora: all instances it knows of
}

// Member is an instance as another one sees it.
type Member struct {
	ID         string
	IsWriter   bool
	Lag        time.Duration // -1: unknown
	LastUpdate time.Duration // age of what is said of it; -1: unknown
}

// LoginRefusedError says that a server was reached and that trying again will not help until something is changed: the
// password, the database's name, the TLS settings.
type LoginRefusedError struct{ Err error }

// Error returns the text of the underlying error.
func (e *LoginRefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *LoginRefusedError) Unwrap() error { return e.Err }

// BusyError says that a server is alive but cannot be asked now: it has no connection to spare.
type BusyError struct{ Err error }

// Error returns the text of the underlying error.
func (e *BusyError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *BusyError) Unwrap() error { return e.Err }

// isAlive tells errors of a server that answered, but not to the question, from those that mean that it is gone.
func isAlive(err error) bool {
	busy := (*BusyError)(nil)
	return isRefused(err) || errors.As(err, &busy)
}

func isRefused(err error) bool {
	refused := (*LoginRefusedError)(nil)
	return errors.As(err, &refused)
}
