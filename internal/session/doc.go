// Package session is what a client was promised: a machine that sees every byte between a client and its upstream and
// knows, when the upstream is lost, what may be done about it.
//
// It is pure: no I/O, no clock, no goroutine. A mount (package driver, or the pooler) drives it:
//
//	out := s.Client(p)              // bytes that the client wants to send
//	s.Sent()                        // ... they are about to be written to the upstream
//	upstream.Write(out)
//	n := upstream.Read(buf)
//	v := s.Server(buf[:n])          // what of them may be given to the client
//	...
//	verdict := s.Lost(cause)        // the upstream died: Idle, Replay, Answered or Broken
//
// Three things are kept for that moment, and cost a header scan and a bounded copy until it comes:
//
//   - the queue of requests whose responses are outstanding (ops), which tells what each server message answers;
//   - the journal: the client's bytes since the session was last idle, up to a limit;
//   - the digest and length of the server's bytes that were already given to the client in this unit, so that a replay
//     can prove itself equal to what the client has seen.
//
// A unit is what happens between two idle moments of the session: an autocommit statement, a pipeline segment up to
// its Sync, or a whole transaction.
package session
