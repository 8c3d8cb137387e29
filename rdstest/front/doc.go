// Package front is a relay between clients and one database server that fails as a network does: it refuses, resets,
// falls silent, is slow, or cuts a connection at an exact message.
//
//	f, err := front.Listen(front.Config{
//		Network: "tcp",
//		Address: "127.3.1.2:5440",
//		Dial: func(ctx context.Context) (net.Conn, error) {
//			return new(net.Dialer).DialContext(ctx, "unix", "/tmp/pg/.s.PGSQL.5432")
//		},
//	})
//	if err != nil {
//		return err
//	}
//	defer f.Close()
//	// The server gets the next COMMIT and obeys it; the client never hears of that.
//	cut := f.Cut(front.Cut{From: front.Client, When: front.After, Match: isCommit})
//	...
//	<-cut.Done()
//
// # What is lost and what is not
//
// The front ends TCP (and TLS) on both sides and moves bytes between the two, so what it has handed to a kernel it cannot
// take back, and while it is silent the machine's kernel still acknowledges packets: keepalives and TCP_USER_TIMEOUT do
// not notice [Swallow] and [Hold]. They do notice [Unplug], where the kernel drops the packets themselves.
//
// A cut sees the messages of PostgreSQL's protocol, version 3, inside TLS too if the front ends it. On a connection that
// speaks anything else every byte passes and no cut fires.
package front
