package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"syscall"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

func Example() {
	// Any server will do, here one that sends back what it gets.
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()

	f, err := front.Listen(front.Config{
		Network: "tcp",
		Address: "127.0.0.1:0",
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", server.Addr().String())
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()

	conn, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 5)

	f.Silence(front.Hold)
	fmt.Fprint(conn, "hello")
	f.Pass()
	_, err = io.ReadFull(conn, answer)
	fmt.Printf("held: %s %v\n", answer, err)

	f.Reset()
	_, err = conn.Read(answer)
	fmt.Println("reset:", errors.Is(err, syscall.ECONNRESET))

	f.Refuse()
	_, err = net.Dial("tcp", f.Addr().String())
	fmt.Println("refused:", errors.Is(err, syscall.ECONNREFUSED))

	// Output:
	// held: hello <nil>
	// reset: true
	// refused: true
}
