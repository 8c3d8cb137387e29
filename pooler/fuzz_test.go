package pooler

import (
	"encoding/binary"
	"io"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/internal/wire"
)

func packet(code uint32, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), code)
	b = append(b, rest...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// Whatever somebody without a password says, it comes to an end and to no session.
func FuzzFront(f *testing.F) {
	db, err := driver.ParseConfig("postgres://app@127.0.0.1:1/app")
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(Config{
		Listeners: []Listener{{Address: "127.0.0.1:0", Login: LoginPassword}}, Clusters: map[string]*Cluster{"main": {Database: db}},
		Users: map[string]User{"alice": {Password: "wonderland"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	alice := packet(3<<16, []byte("user\x00alice\x00\x00")...)
	sasl := func(body string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{'p'}, uint32(len(body)+4)), body...)
	}
	for _, seed := range [][]byte{
		nil,
		packet(wire.CodeSSL),
		append(packet(wire.CodeSSL), packet(wire.CodeGSSEnc)...),
		packet(wire.CodeCancel),
		packet(wire.CodeCancel, 1, 2, 3, 4, 5, 6, 7, 8),
		packet(2 << 16),
		packet(3<<16|9999, 0),
		packet(3<<16, []byte("user\x00\x00\x00")...),
		packet(3<<16, []byte("user\x00a\x00database")...),
		{0x40, 0, 0, 0, 0, 3, 0, 0},
		alice,
		append(alice, sasl("SCRAM-SHA-1\x00\x00\x00\x00\x00")...),
		append(alice, sasl("SCRAM-SHA-256-PLUS\x00\x00\x00\x00\x20p=tls-server-end-point,,n=,r=nonce")...),
		append(alice, sasl("SCRAM-SHA-256\x00\x00\x00\x00\x10n,,n=,r=nonceabc")...),
		append(alice, sasl("SCRAM-SHA-256\x00\x7f\xff\xff\xffn,,n=,r=nonce")...),
		append(alice, sasl("SCRAM-SHA-256\x00\xff\xff\xff\xff")...),
		append(append(alice, sasl("SCRAM-SHA-256\x00\x00\x00\x00\x10n,,n=,r=nonceabc")...), sasl("c=biws,r=nonceabc,p=AAAA")...),
	} {
		f.Add(seed)
	}
	for _, msg := range malformed.Frontend() {
		for _, b := range malformed.Seeds(msg) {
			f.Add(append(append([]byte(nil), alice...), b...))
		}
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			_, _ = io.Copy(io.Discard, theirs)
		}()
		go func() {
			_, _ = theirs.Write(said) // what nobody reads any more is an error
			_ = theirs.Close()
		}()
		_ = ours.SetDeadline(time.Now().Add(time.Minute))
		e := new(endpoint)
		e.settings.Store(&s.cfg.Load().Listeners[0])
		c := &client{server: s, endpoint: e, listener: e.settings.Load(), conn: ours, raw: ours}
		_ = c.start(t.Context()) // it is refused one way or another
		if c.mount != nil || c.shared != nil {
			t.Error("a session began without a password")
		}
		_ = ours.Close()
		<-heard
	})
}

// What is read of a startup packet is what goes on to the session.
func FuzzStartupParameters(f *testing.F) {
	f.Add(packet(3<<16, []byte("user\x00app\x00database\x00app\x00options\x00-c a=b\x00\x00")...))
	f.Add(packet(3<<16, []byte("user\x00app\x00user\x00other\x00\x00")...))
	f.Add(packet(3<<16, []byte("user\x00\x00\x00\x00")...))
	f.Add(packet(3<<16, 0))
	f.Add(packet(3 << 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 8 {
			return // shorter ones are not read
		}
		params, err := startupParameters(b)
		if err != nil {
			return
		}
		user, database := params["user"], params["database"]
		delete(params, "user")
		delete(params, "database")
		again, err := startupParameters(startupPacket(3<<16, user, database, params))
		if err != nil {
			t.Fatal(err)
		}
		params["user"], params["database"] = user, database
		if !maps.Equal(again, params) {
			t.Errorf("%q became %q", params, again)
		}
	})
}
