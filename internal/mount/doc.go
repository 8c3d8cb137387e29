// Package mount is the server side of PostgreSQL's protocol in front of one client session, on whatever server that
// session is by then:
//
//	p, err := mount.NewPool(cfg)
//	conn, err := p.Dial(ctx) // logged in to an instance
//	conn.Write(startupMessage)
//	conn.Read(buf) // AuthenticationOk, ParameterStatus, BackendKeyData, ReadyForQuery
//
// A [Conn] is a net.Conn. It moves bytes between its caller and an upstream in the caller's own goroutine, shows them to
// an internal/session.Session on the way, and does the I/O that the session's verdicts ask for when the upstream is lost.
// A [Pool] is what many of them have in common: the cluster, the way to log in, what is known of its servers.
package mount
