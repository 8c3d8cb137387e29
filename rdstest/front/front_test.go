package front_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

func TestBytesPassUnchangedInBothDirections(t *testing.T) {
	cases := map[string][]func(*front.Config){
		"tcp":  nil,
		"unix": {onUnix(t)},
	}
	for name, change := range cases {
		for _, delay := range []time.Duration{0, 3 * time.Millisecond} {
			t.Run(name+" "+delay.String(), func(t *testing.T) {
				a := newAcceptor(t)
				f := listen(t, "tcp", a.Addr().String(), change...)
				client := dial(t, f)
				server := a.next(t)
				f.Delay(delay)
				rng := rand.NewChaCha8([32]byte{1})
				there, back := make([]byte, 2<<20), make([]byte, 2<<20)
				_, _ = rng.Read(there)
				_, _ = rng.Read(back)

				results := make(chan error, 4)
				for _, end := range []struct {
					conn        net.Conn
					says, hears []byte
				}{{client, there, back}, {server, back, there}} {
					go func() {
						_, err := end.conn.Write(end.says)
						results <- errors.Join(err, end.conn.(interface{ CloseWrite() error }).CloseWrite())
					}()
					go func() {
						got, err := io.ReadAll(end.conn)
						if err == nil && !bytes.Equal(got, end.hears) {
							err = errors.New("other bytes than were sent")
						}
						results <- err
					}()
				}
				for range cap(results) {
					if err := <-results; err != nil {
						t.Error(err)
					}
				}
				eventually(t, "the connection is released", func() bool { return f.Conns() == 0 })
			})
		}
	}
}

func TestHalfCloseIsPassedOn(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	hearEnd(t, server, io.EOF)
	send(t, server, "still here")
	receive(t, client, "still here")
	if n := f.Conns(); n != 1 {
		t.Errorf("Conns() = %d, want 1", n)
	}
}

func TestResetOfOneEndReachesTheOther(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	send(t, server, "last words")
	receive(t, client, "last words")
	_ = server.(*net.TCPConn).SetLinger(0)
	_ = server.Close()
	hearReset(t, client)
}

func TestRefuseIsTheKernelsAndPassListensAgain(t *testing.T) {
	for name, change := range map[string][]func(*front.Config){"tcp": nil, "unix": {onUnix(t)}} {
		t.Run(name, func(t *testing.T) {
			a := newAcceptor(t)
			f := listen(t, "tcp", a.Addr().String(), change...)
			client, server := pair(t, f, a)
			addr := f.Addr().String()
			for range 3 {
				f.Refuse()
				if _, err := net.Dial(f.Addr().Network(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatalf("dial: %v, want ECONNREFUSED", err)
				}
				send(t, client, "open ones go on")
				receive(t, server, "open ones go on")
				f.Pass()
				if got := f.Addr().String(); got != addr {
					t.Fatalf("Addr() = %s after Pass, was %s", got, addr)
				}
				pair(t, f, a)
			}
		})
	}
}

func TestResetReachesBothEnds(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	f.Reset()
	hearReset(t, client)
	hearReset(t, server)
	pair(t, f, a)
}

func TestSwallowedBytesAreLostAndPassResets(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	for _, from := range []front.Side{front.Client, front.Server} {
		t.Run(from.String(), func(t *testing.T) {
			client, server := pair(t, f, a)
			idleClient, idleServer := pair(t, f, a)
			f.Silence(front.Swallow)
			sender, receiver := client, server
			if from == front.Server {
				sender, receiver = server, client
			}
			send(t, sender, "into the void")
			hearNothing(t, receiver)
			f.Pass()
			hearReset(t, client)
			hearReset(t, server)
			send(t, idleClient, "lost nothing")
			receive(t, idleServer, "lost nothing")
			pair(t, f, a)
		})
	}
}

// A stream with a gap must not reach anybody, not even in the moment between the end of the silence and the reset.
func TestNothingFollowsWhatWasSwallowed(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	for range 20 {
		client, server := pair(t, f, a)
		stop, flooded := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(flooded)
			defer server.Close()
			for i := byte(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := server.Write([]byte{i}); err != nil {
					return
				}
			}
		}()
		receive(t, client, "\x00\x01\x02\x03")
		f.Silence(front.Swallow)
		time.Sleep(time.Millisecond)
		f.Pass()
		time.AfterFunc(time.Millisecond, func() { close(stop) })
		buf := make([]byte, 1<<10)
		for next := byte(4); ; {
			n, err := client.Read(buf)
			for _, b := range buf[:n] {
				if b != next {
					t.Fatalf("after a gap, byte %d came, want %d", b, next)
				}
				next++
			}
			if err != nil {
				break
			}
		}
		<-flooded
	}
}

func TestSwallowHidesTheEndOfAConnection(t *testing.T) {
	ends := map[string]func(*net.TCPConn){
		"close": func(c *net.TCPConn) { _ = c.Close() },
		"reset": func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			a := newAcceptor(t)
			f := listen(t, "tcp", a.Addr().String())
			client, server := pair(t, f, a)
			f.Silence(front.Swallow)
			end(server.(*net.TCPConn))
			hearNothing(t, client)
			f.Pass()
			hearReset(t, client)
		})
	}
}

func TestSwallowAcceptsAndNeverAnswers(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	f.Refuse()
	f.Silence(front.Swallow)
	client := dial(t, f)
	send(t, client, "anybody?")
	hearNothing(t, client)
	if len(a.conns) != 0 {
		t.Error("the server was reached")
	}
	f.Pass()
	hearReset(t, client)
}

func TestHeldBytesArriveAfterPass(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	closing, closed := pair(t, f, a)
	f.Silence(front.Hold)
	late := dial(t, f)
	send(t, late, "late")
	send(t, client, "question")
	send(t, server, "answer")
	_ = closing.Close()
	hearNothing(t, server)
	hearNothing(t, client)
	hearNothing(t, closed)
	if len(a.conns) != 0 {
		t.Error("the server was reached")
	}
	f.Pass()
	receive(t, server, "question")
	receive(t, client, "answer")
	hearEnd(t, closed, io.EOF)
	receive(t, a.next(t), "late")
}

func TestHoldIsBounded(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	f.Silence(front.Hold)
	_ = client.SetWriteDeadline(time.Now().Add(time.Second))
	sent, err := client.Write(make([]byte, 64<<20))
	if err == nil {
		t.Fatal("64 MiB were kept")
	}
	f.Pass()
	_ = client.Close()
	got, err := io.Copy(io.Discard, server)
	if err != nil || got != int64(sent) {
		t.Errorf("%d bytes arrived, %v; %d were sent", got, err, sent)
	}
}

// A silence interrupts writes that wait for a slow reader, and no byte may be doubled or dropped by that.
func TestSilencesInAStreamLeaveItWhole(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	stop := make(chan struct{})
	sent := make(chan int64, 1)
	go func() {
		defer close(sent)
		buf := make([]byte, 100_003)
		var n int64
		for {
			select {
			case <-stop:
				_ = server.Close()
				sent <- n
				return
			default:
			}
			for i := range buf {
				buf[i] = byte((n + int64(i)) % 251)
			}
			if _, err := server.Write(buf); err != nil {
				return
			}
			n += int64(len(buf))
		}
	}()
	toggled := make(chan struct{})
	go func() {
		defer close(toggled)
		for i := range 100 {
			f.Silence(front.Hold)
			if i%3 == 0 {
				f.Delay(time.Millisecond)
			}
			time.Sleep(time.Millisecond)
			f.Pass()
			time.Sleep(time.Millisecond)
		}
		close(stop)
	}()
	buf := make([]byte, 32<<10)
	var got int64
	for {
		n, err := client.Read(buf)
		for i, b := range buf[:n] {
			if b != byte((got+int64(i))%251) {
				t.Fatalf("byte %d is not the one that was sent", got+int64(i))
			}
		}
		got += int64(n)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
		if got%7 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	<-toggled
	if want := <-sent; got != want {
		t.Errorf("%d bytes arrived of %d", got, want)
	}
}

func TestDelayedBytesThatAreOnTheirWayAreSwallowed(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	f.Delay(50 * time.Millisecond)
	send(t, client, "on its way")
	f.Silence(front.Swallow)
	hearNothing(t, server)
}

func TestPassEndsADelay(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	f.Delay(time.Hour)
	f.Pass()
	pair(t, f, a)
}

func TestCloseResetsConnections(t *testing.T) {
	for _, silence := range []front.Silence{0, front.Swallow, front.Hold, front.Backlog, front.Unplug} {
		t.Run(silence.String(), func(t *testing.T) {
			a := newAcceptor(t)
			f := listen(t, "tcp", a.Addr().String())
			client, server := pair(t, f, a)
			if silence != 0 {
				f.Silence(silence)
			}
			if silence != front.Unplug {
				send(t, client, "unheard")
				send(t, server, "unheard")
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if n := f.Conns(); n != 0 {
				t.Errorf("Conns() = %d, want 0", n)
			}
			if silence != 0 {
				hearReset(t, client)
				hearReset(t, server)
			}
			if _, err := net.Dial("tcp", f.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial after Close: %v, want ECONNREFUSED", err)
			}
			if err := f.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			f.Pass()
			if _, err := net.Dial("tcp", f.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial after Close and Pass: %v, want ECONNREFUSED", err)
			}
		})
	}
}

func TestServerThatCannotBeReachedIsAReset(t *testing.T) {
	f := listen(t, "", "", func(cfg *front.Config) {
		cfg.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("no server") }
	})
	// The reset may come so soon that connect itself reports it.
	conn, err := net.Dial("tcp", f.Addr().String())
	if err == nil {
		defer conn.Close()
		hearReset(t, conn)
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	eventually(t, "the connection is released", func() bool { return f.Conns() == 0 })
}

func TestDialEndsWithItsConnection(t *testing.T) {
	began := make(chan struct{})
	f := listen(t, "", "", func(cfg *front.Config) {
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	client := dial(t, f)
	<-began
	f.Reset()
	hearReset(t, client)
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	noDial := front.Config{Network: "tcp", Address: "127.0.0.1:0"}
	if _, err := front.Listen(noDial); err == nil {
		t.Error("Listen without Dial succeeded")
	}
	dialNothing := func(context.Context) (net.Conn, error) { return nil, errors.New("no server") }
	for _, cfg := range []front.Config{
		{Network: "tcp", Address: taken.Addr().String(), Dial: dialNothing},
		{Network: "tcp", Address: "no port", Dial: dialNothing},
		{Network: "unix", Address: "/nowhere/at/all", Dial: dialNothing},
	} {
		if _, err := front.Listen(cfg); err == nil {
			t.Errorf("Listen on %s %s succeeded", cfg.Network, cfg.Address)
		}
	}
}

func TestServerMaySpeakFirst(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client := dial(t, f)
	server := a.next(t)
	send(t, server, "welcome")
	receive(t, client, "welcome")
	send(t, client, "thanks")
	receive(t, server, "thanks")
}

func TestEndOfTheServerReachesAClientThatHasSaidNothing(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client := dial(t, f)
	_ = a.next(t).Close()
	hearEnd(t, client, io.EOF)
}

// A pipe takes no byte before it is read, so that a write to it is under way for as long as a test likes.
func TestSilenceInterruptsAWriteThatIsUnderWay(t *testing.T) {
	for _, silence := range []front.Silence{front.Swallow, front.Hold} {
		t.Run(silence.String(), func(t *testing.T) {
			here, server := net.Pipe()
			defer server.Close()
			f := listen(t, "", "", func(cfg *front.Config) {
				cfg.Dial = func(context.Context) (net.Conn, error) { return here, nil }
			})
			client := dial(t, f)
			send(t, client, "one two")
			receive(t, server, "one")
			f.Silence(silence)
			hearNothing(t, server)
			f.Pass()
			if silence == front.Hold {
				receive(t, server, " two")
			} else {
				hearReset(t, client)
			}
		})
	}
}
