package front_test

import (
	"io"
	"net"
	"testing"
	"time"
)

// What a relay costs, against the same connection without one.
func BenchmarkRelay(b *testing.B) {
	for _, way := range []string{"direct", "front", "front delayed"} {
		b.Run(way, func(b *testing.B) {
			a := newAcceptor(b)
			var client net.Conn
			if way == "direct" {
				var err error
				if client, err = net.Dial("tcp", a.Addr().String()); err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = client.Close() })
			} else {
				f := listen(b, "tcp", a.Addr().String())
				client = dial(b, f)
				if way == "front delayed" {
					f.Delay(5 * time.Millisecond)
				}
			}
			server := a.next(b)
			// Rows of 100 bytes, as a server sends them.
			row := append([]byte{'D', 0, 0, 0, 104}, make([]byte, 100)...)
			buf := make([]byte, 0, 256<<10)
			for len(buf)+len(row) <= cap(buf) {
				buf = append(buf, row...)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, client)
			}()
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := server.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = server.Close()
			<-done
		})
	}
}

func BenchmarkFrontRoundTrip(b *testing.B) {
	a := newAcceptor(b)
	f := listen(b, "tcp", a.Addr().String())
	client, server := pair(b, f, a)
	go func() { _, _ = io.Copy(server, server) }()
	b.ReportAllocs()
	_ = client.SetDeadline(time.Time{})
	_ = server.SetDeadline(time.Time{})
	buf := make([]byte, 50)
	for b.Loop() {
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
	}
}
