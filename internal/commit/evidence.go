package commit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Key identifies one attempt to commit, in mode Marker. A replayed unit commits under a new one.
type Key struct {
	Session [16]byte // a random UUID, one for each client session
	Seq     uint64   // counts the session's attempts from 1; at most 1<<63 - 1
	// Settled is the highest Seq of which this and all lower ones are answered or decided: nobody will ask for them again, and
	// this attempt may delete their rows. In a pipeline it stays behind while earlier commits are unanswered.
	Settled uint64
}

// Params returns the parameters of [Statement] for mode Marker, in text format.
func (k Key) Params() [][]byte {
	return [][]byte{
		[]byte(k.session()),
		strconv.AppendUint(nil, k.Seq, 10),
		strconv.AppendUint(nil, k.Settled, 10),
	}
}

// session returns the session as PostgreSQL writes a UUID.
func (k Key) session() string {
	b := make([]byte, 0, 36)
	for i, n := 0, 0; i < 5; i++ {
		if i > 0 {
			b = append(b, '-')
		}
		size := [5]int{4, 2, 2, 2, 6}[i]
		b = hex.AppendEncode(b, k.Session[n:n+size])
		n += size
	}
	return string(b)
}

// Evidence is what is known of a commit that was sent and not answered.
type Evidence struct {
	Mode     Mode
	Answered bool // the injected statement's answer arrived, and [ReadAnswer] took it in

	// XID is the transaction's id before the injected statement, 0 if it had none. Known once Answered, in both modes.
	XID uint64

	// Marker.

	Key    Key
	Marked bool // the row was written; false once Answered: the transaction was read-only
	// NotReadOnly says that the transaction certainly was not read-only when the injected statement ran: a row that is not
	// there then means "aborted" even if the statement was not answered. A transaction can be made read-only after it has
	// written.
	NotReadOnly bool

	// LSN.

	LSN      uint64 // the position in the WAL behind which the commit record would be; 0 on a server that writes none
	Timeline uint32
	System   string // the system identifier
	Boot     string // as in topology.Instance
	// Serializable says that a transaction without an id is serializable: what it has read counts as long as it has not
	// committed.
	Serializable bool
}

// ReadAnswer takes in the row that the injected statement returned, in text format. If it was not asked which server it is, e
// has System and Boot from an earlier answer on the same connection.
func ReadAnswer(m Mode, values [][]byte, e *Evidence) error {
	if len(values) != 1 {
		return fmt.Errorf("commit: read the answer of the %v statement: %d columns", m, len(values))
	}
	e.Mode, e.Answered = m, false
	var err error
	switch text := values[0]; m {
	case Marker:
		err = e.readMarker(text)
	case LSN:
		err = e.readLSN(text)
	default:
		err = errors.New("there is none")
	}
	if err != nil {
		return fmt.Errorf("commit: read the answer of the %v statement: %w", m, err)
	}
	e.Answered = true
	return nil
}

// readMarker reads "marked <xid>" or "readonly <xid>".
func (e *Evidence) readMarker(text []byte) error {
	word, id, _ := bytes.Cut(text, space)
	marked := string(word) == answerMarked
	if !marked && string(word) != answerReadOnly {
		return fmt.Errorf("%q is no answer of fairlead.mark", text)
	}
	xid, err := strconv.ParseUint(string(id), 10, 64)
	if err != nil {
		return fmt.Errorf("transaction id: %w", err)
	}
	e.XID, e.Marked = xid, marked
	return nil
}

var space = []byte(" ")

// readLSN reads "<xid> <lsn> <WAL file>", with "<system identifier> <boot>" behind it if that was asked for, or "recovery"
// from a server that writes no WAL. Instead of an xid there may be none, or none of a serializable transaction.
func (e *Evidence) readLSN(text []byte) error {
	if string(text) == answerRecovery {
		e.XID, e.LSN, e.Timeline, e.System, e.Boot, e.Serializable = 0, 0, 0, "", "", false
		return nil
	}
	n := bytes.Count(text, space)
	if n != 2 && n != 4 {
		return fmt.Errorf("%d values in %q", n+1, text)
	}
	id, text, _ := bytes.Cut(text, space)
	at, text, _ := bytes.Cut(text, space)
	file, server, whole := bytes.Cut(text, space)
	xid, serializable := uint64(0), string(id) == answerSerializable
	if !serializable && string(id) != answerNoXID {
		var err error
		if xid, err = strconv.ParseUint(string(id), 10, 64); err != nil {
			return fmt.Errorf("transaction id: %w", err)
		}
	}
	lsn, err := parseLSN(at)
	if err != nil {
		return err
	}
	timeline, err := parseTimeline(file)
	if err != nil {
		return err
	}
	if whole {
		system, boot, _ := bytes.Cut(server, space)
		e.System, e.Boot = string(system), string(boot)
	}
	if e.System == "" || !wholeBoot(e.Boot) {
		return fmt.Errorf("the server does not tell which one it is: system identifier %q, boot %q", e.System, e.Boot)
	}
	e.XID, e.LSN, e.Timeline, e.Serializable = xid, lsn, timeline, serializable
	return nil
}

// parseLSN reads a position in the WAL as PostgreSQL writes it.
func parseLSN(s []byte) (uint64, error) {
	high, low, ok := bytes.Cut(s, []byte("/"))
	h, errH := strconv.ParseUint(string(high), 16, 32)
	l, errL := strconv.ParseUint(string(low), 16, 32)
	if !ok || errH != nil || errL != nil {
		return 0, fmt.Errorf("%q is no position in the WAL", s)
	}
	return h<<32 | l, nil
}

// parseTimeline reads the timeline from the name of a WAL file.
func parseTimeline(file []byte) (uint32, error) {
	if len(file) == 24 {
		if t, err := strconv.ParseUint(string(file[:8]), 16, 32); err == nil && t > 0 {
			return uint32(t), nil
		}
	}
	return 0, fmt.Errorf("%q is no name of a WAL file", file)
}
