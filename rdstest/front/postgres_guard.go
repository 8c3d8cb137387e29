package front

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Guard decides who authenticates a client that has sent its StartupMessage. With neither check nor an error it is the
// server, as without a Guard. With check the client is asked for a password in the clear, and the server, which has to trust
// this user, hears of the client when check has accepted that. An error refuses the client; a [*Refusal] is told to it as it
// is.
type Guard func(ctx context.Context, a Arrival) (check func(ctx context.Context, password string) error, err error)

// Arrival is a client at the door.
type Arrival struct {
	User, Database string
	Encrypted      bool
}

// Refusal is what a client is told that is not let in.
type Refusal struct{ Code, Message string }

// Error is the message with its SQLSTATE.
func (r *Refusal) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", r.Message, r.Code) }

// goodbye is how long a refused client has to read why.
const goodbye = 2 * time.Second

// guard has the client authenticated by whom the Guard says. The server is to see the StartupMessage in any case.
func (l *link) guard() error {
	if l.front.cfg.Guard == nil {
		return nil
	}
	client := l.up.src
	startup, err := readBody(client, nil)
	defer func() { l.up.src = io.MultiReader(bytes.NewReader(startup), client) }()
	if err != nil {
		return nil // that the client has ended, or speaks something else, is left to the pump to find
	}
	a, ok := arrivalOf(startup)
	if !ok {
		return nil
	}
	a.Encrypted = client != io.Reader(l.client)
	check, err := l.front.cfg.Guard(l.ctx, a)
	if err == nil && check != nil {
		err = l.askPassword(client, check)
	}
	if err != nil {
		l.refuse(client, err)
	}
	return err
}

// askPassword asks for it with an AuthenticationCleartextPassword.
func (l *link) askPassword(client io.Reader, check func(context.Context, string) error) error {
	if _, err := l.down.dst.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}); err != nil {
		return fmt.Errorf("front: ask for a password: %w", err)
	}
	kind := make([]byte, 1)
	if _, err := io.ReadFull(client, kind); err != nil {
		return fmt.Errorf("front: read a password: %w", err)
	}
	msg, err := readBody(client, kind)
	if err != nil || kind[0] != 'p' || len(msg) < 6 {
		return errors.Join(errors.New("front: read a password: something else came"), err)
	}
	return check(l.ctx, string(msg[5:len(msg)-1]))
}

// refuse says why, and waits until the client has read that.
func (l *link) refuse(client io.Reader, err error) {
	told := (*Refusal)(nil)
	if !errors.As(err, &told) {
		told = &Refusal{Code: "08006", Message: "the front refuses the client"}
	}
	body := []byte("SFATAL\x00VFATAL\x00C" + told.Code + "\x00M" + told.Message + "\x00\x00")
	msg := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4))
	if _, err := l.down.dst.Write(append(msg, body...)); err != nil {
		return
	}
	l.down.closeWrite()
	_ = l.client.SetReadDeadline(time.Now().Add(goodbye))
	_, _ = io.Copy(io.Discard, client)
}

// readBody reads a length and what it counts; what it gives begins with before.
func readBody(r io.Reader, before []byte) ([]byte, error) {
	b := append(bytes.Clone(before), 0, 0, 0, 0)
	n, err := io.ReadFull(r, b[len(before):])
	if err != nil {
		return b[:len(before)+n], err
	}
	size := binary.BigEndian.Uint32(b[len(before):])
	if size < 4 || size > maxStartupPacket {
		return b, errors.New("front: not a message of PostgreSQL's")
	}
	head := len(b)
	b = append(b, make([]byte, size-4)...)
	n, err = io.ReadFull(r, b[head:])
	return b[:head+n], err
}

// arrivalOf reads a StartupMessage, and nothing else.
func arrivalOf(packet []byte) (a Arrival, ok bool) {
	if len(packet) < 8 || binary.BigEndian.Uint16(packet[4:]) != 3 {
		return a, false
	}
	fields := bytes.Split(packet[8:], []byte{0})
	for i := 0; i+1 < len(fields) && len(fields[i]) > 0; i += 2 {
		switch value := string(fields[i+1]); string(fields[i]) {
		case "user":
			a.User = value
		case "database":
			a.Database = value
		}
	}
	if a.Database == "" {
		a.Database = a.User
	}
	return a, true
}
