package malformed

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Server answers as a PostgreSQL server would whose every query returns the number 1, except that it mutilates a message here and there.
type Server struct {
	ln   net.Listener
	rate int64

	mu   sync.Mutex
	r    *rand.Rand
	all  map[net.Conn]struct{}
	wait sync.WaitGroup

	// Mutilated counts the messages that were.
	Mutilated atomic.Int64
}

// NewServer listens on an address of its own until Close, and mutilates one of so many messages.
func NewServer(rate int64, seed uint64) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{ln: ln, rate: rate, r: rand.New(rand.NewPCG(seed, 3)), all: make(map[net.Conn]struct{})}
	s.wait.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.all[conn] = struct{}{}
			s.mu.Unlock()
			s.wait.Go(func() {
				s.serve(conn)
				_ = conn.Close()
				s.mu.Lock()
				delete(s.all, conn)
				s.mu.Unlock()
			})
		}
	})
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close ends all connections.
func (s *Server) Close() error {
	err := s.ln.Close()
	s.mu.Lock()
	for c := range s.all {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
	return err
}

var (
	one = []pgproto3.BackendMessage{
		&pgproto3.DataRow{Values: [][]byte{[]byte("1")}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")},
	}
	columns = &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("one"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}}
	ready   = &pgproto3.ReadyForQuery{TxStatus: 'I'}
)

func (s *Server) serve(conn net.Conn) {
	b := pgproto3.NewBackend(conn, conn)
	startup, err := b.ReceiveStartupMessage()
	if _, ok := startup.(*pgproto3.StartupMessage); err != nil || !ok {
		return
	}
	greeting := []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}}
	for name, value := range map[string]string{"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on", "in_hot_standby": "off"} {
		greeting = append(greeting, &pgproto3.ParameterStatus{Name: name, Value: value})
	}
	if !s.say(conn, append(greeting, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}, ready)...) {
		return
	}
	for {
		msg, err := b.Receive()
		if err != nil {
			return
		}
		ok := true
		switch msg := msg.(type) {
		case *pgproto3.Query:
			ok = s.say(conn, append(append([]pgproto3.BackendMessage{columns}, one...), ready)...)
		case *pgproto3.Parse:
			ok = s.say(conn, &pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			ok = s.say(conn, &pgproto3.BindComplete{})
		case *pgproto3.Describe:
			if msg.ObjectType == 'S' {
				ok = s.say(conn, &pgproto3.ParameterDescription{})
			}
			ok = ok && s.say(conn, columns)
		case *pgproto3.Execute:
			ok = s.say(conn, one...)
		case *pgproto3.Close:
			ok = s.say(conn, &pgproto3.CloseComplete{})
		case *pgproto3.Sync:
			ok = s.say(conn, ready)
		case *pgproto3.Terminate:
			return
		}
		if !ok {
			return
		}
	}
}

// say sends messages, or what has become of them.
func (s *Server) say(conn net.Conn, msgs ...pgproto3.BackendMessage) bool {
	var out []byte
	for _, m := range msgs {
		out = append(out, s.mutilated(encode(m), len(msgs) > 4)...)
	}
	_, err := conn.Write(out)
	return err == nil
}

func (s *Server) mutilated(msg []byte, login bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.r.Int64N(s.rate) != 0 || login && s.r.IntN(8) != 0 { // who cannot log in waits for long
		return msg
	}
	s.Mutilated.Add(1)
	return mutilate(s.r, msg)
}

// mutilate is a message with something done to it, in its place, or behind it.
func mutilate(r *rand.Rand, msg []byte) []byte {
	switch r.IntN(4) {
	case 0:
		return One(r, Backend()).Bytes
	case 1:
		return append(append([]byte(nil), msg...), One(r, Backend()).Bytes...)
	}
	list := All(msg)
	return list[r.IntN(len(list))].Bytes
}
