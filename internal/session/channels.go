package session

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// inboxLimit bounds the notifications, in bytes, that wait until the client may have them.
const inboxLimit = 64 << 10

// maxChannel is the length of a channel's name, in bytes, beyond which a server cuts it off.
const maxChannel = 63

// channel is one that the client listens on.
type channel struct {
	here    bool // the upstream that the session has listens on it
	relayed bool // the pool receives its notifications for the session, and those of the upstream are not delivered
}

// listening is what a change does to the channels.
type listening uint8

const (
	listen listening = iota + 1
	unlisten
	unlistenAll
)

// applyChannel makes a LISTEN or UNLISTEN that was committed the session's own.
func (t *settings) applyChannel(c change) {
	switch c.listening {
	case listen:
		if t.channels == nil {
			t.channels = make(map[string]*channel)
		}
		if t.channels[c.name] == nil {
			t.channels[c.name] = &channel{}
			t.kept += len(c.name) + channelCost
		}
		t.channels[c.name].here = true
	case unlisten:
		if t.channels[c.name] != nil {
			t.kept -= len(c.name) + channelCost
		}
		delete(t.channels, c.name)
	case unlistenAll:
		clear(t.channels)
		t.recount()
	}
}

// relayedNow are the channels that the pool receives for the session.
func (t *settings) relayedNow() (names []string) {
	for name, c := range t.channels {
		if c.relayed {
			names = append(names, name)
		}
	}
	return names
}

// keepRelayed is the end of changes to the channels, before which those of the names were relayed: one that was left and taken
// up again in between goes on to be.
func (t *settings) keepRelayed(names []string) {
	for _, name := range names {
		if c := t.channels[name]; c != nil {
			c.relayed = true
		} else {
			t.left = true
		}
	}
}

// channelName is a channel as the server calls it.
func channelName(identifier string) string {
	if len(identifier) <= maxChannel {
		return identifier
	}
	n := maxChannel
	for n > 0 && !utf8.RuneStart(identifier[n]) {
		n--
	}
	return identifier[:n]
}

// Listening reports whether notifications are to come from the session's own upstream, or some of its channels are on none.
func (s *Session) Listening() bool {
	for _, c := range s.settings.channels {
		if c.here || !c.relayed {
			return true
		}
	}
	return false
}

// Listens reports whether the client listens on any channel.
func (s *Session) Listens() bool { return len(s.settings.channels) > 0 }

// Unrelayed are the channels whose notifications come from the session's own upstream, in their order.
func (s *Session) Unrelayed() (names []string) {
	for name, c := range s.settings.channels {
		if !c.relayed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Relayed are the channels that the pool receives for the session.
func (s *Session) Relayed() []string { return s.settings.relayedNow() }

// Left reports, once, whether the client has left a channel that was Relayed.
func (s *Session) Left() bool {
	left := s.settings.left
	s.settings.left = false
	return left
}

// Relay says that the pool receives the notifications of all channels from now on. Those that the upstream still has to say are
// given to HandedOver.
func (s *Session) Relay() {
	for _, c := range s.settings.channels {
		c.relayed = true
	}
}

// noteNews takes in that a statement has completed, of a client that listens: it may have notified, itself or by a trigger or function.
func (s *Session) noteNews(head byte, tag []byte) {
	if s.ownNews || len(s.Relayed()) == 0 {
		return
	}
	word, _, _ := bytes.Cut(bytes.TrimRight(tag, "\x00"), []byte(" "))
	switch string(word) {
	case "SHOW", "SET", "RESET", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "LISTEN", "UNLISTEN", "PREPARE",
		"DEALLOCATE", "DECLARE", "CLOSE", "DISCARD", "LOCK":
		return
	case "SELECT":
		sql := ""
		switch head {
		case wire.Query:
			sql = s.queryStatement(s.queue[s.head])
		case wire.Execute:
			sql = s.portalStatement(s.queue[s.head])
		}
		o := s.options()
		switch sqltext.Classify(sql, o) {
		case sqltext.Select, sqltext.Values, sqltext.Table, sqltext.With:
			s.ownNews = containsFold(sql, "notify") || sqltext.Opaque(sql, o)
			return
		}
	}
	s.ownNews = true
}

// AcceptNotified says that the pool has received what the unit has notified.
func (s *Session) AcceptNotified() { s.ownNews = false }

// HandOver is what is sent to an upstream so that it does not listen any more. Its notifications count up to the mark on a
// channel of the pool's own, from where on the pool has them: a server gives all who listen the same order.
func HandOver(markChannel, mark string) []byte {
	return append(
		encodeFrontend(&pgproto3.Query{String: "/* fairlead */ BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL statement_timeout TO 0; SET LOCAL lock_timeout TO 0; SET LOCAL synchronous_commit TO off; " +
			"LISTEN " + QuoteIdentifier(markChannel) + "; NOTIFY " + QuoteIdentifier(markChannel) + ", " + Quote(mark) + "; COMMIT"}),
		encodeFrontend(&pgproto3.Query{String: "/* fairlead */ UNLISTEN *"})...)
}

// HandedOver takes in what the upstream has said besides its answers to HandOver, of the channels that were handed over. It reports
// whether the mark was there.
func (s *Session) HandedOver(said []byte, channels []string, markChannel, mark string) (found bool) {
	eachMessage(said, func(msg []byte) {
		name, payload := Notification(msg)
		switch {
		case msg[0] != wire.NotificationResponse || found:
		case string(name) == markChannel:
			found = string(payload) == mark
		case slices.Contains(channels, string(name)):
			s.notification(msg)
			s.out = append(s.out, msg...)
		}
	})
	for _, c := range s.settings.channels {
		c.here = false
	}
	return found
}

// Notification is what a NotificationResponse says, nothing of any other message.
func Notification(msg []byte) (channel, payload []byte) {
	if len(msg) < wire.HeaderLen+4 || msg[0] != wire.NotificationResponse {
		return nil, nil
	}
	channel, rest, _ := wire.CString(msg[wire.HeaderLen+4:])
	payload, _, _ = wire.CString(rest)
	return channel, payload
}

// relays reports whether the pool receives a notification too that the upstream has sent.
func (s *Session) relays(msg []byte) bool {
	name, _ := Notification(msg)
	c := s.settings.channels[string(name)]
	return c != nil && c.relayed
}

// Heard is given a notification that the pool has received, and whether it is the session's own. It waits until the client may
// have it: outside of a transaction. When too much waits, the client is told so in the place of what is missing.
func (s *Session) Heard(msg []byte, own bool) {
	if !s.relays(msg) || s.inboxFull {
		return
	}
	if len(s.inbox)+len(msg) > inboxLimit {
		s.Missed("the client was too slow, or its transaction too long")
		s.inboxFull = true
		return
	}
	at := len(s.inbox)
	s.inbox = append(s.inbox, msg...)
	s.stamp(s.inbox[at:], own)
}

// Missed has the client told that notifications may have been missed.
func (s *Session) Missed(why string) {
	if s.inboxFull {
		return // it will be
	}
	b, err := missedNotice(why).Encode(s.inbox)
	if err != nil {
		panic("session: " + err.Error())
	}
	s.inbox = b
}

// InboxFull reports whether notifications are being passed over.
func (s *Session) InboxFull() bool { return s.inboxFull }

func missedNotice(why string) *pgproto3.NoticeResponse {
	return &pgproto3.NoticeResponse{
		Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: "01000",
		Message: "fairlead: " + why + "; notifications may have been missed",
	}
}

// HasHeard reports whether TakeHeard has something for the client now.
func (s *Session) HasHeard() bool { return len(s.inbox) > 0 && s.Quiet() }

// TakeHeard returns what the client may have now of that which the pool has received.
func (s *Session) TakeHeard() []byte {
	said := s.inbox
	s.inbox, s.inboxFull = nil, false
	return said
}

// commitSettings makes what the transaction set the session's own. What came on channels that it has left is not for the client.
func (s *Session) commitSettings() {
	s.settings.commit()
	if !s.settings.left || len(s.inbox) == 0 {
		return
	}
	kept := s.inbox[:0]
	eachMessage(s.inbox, func(msg []byte) {
		if msg[0] != wire.NotificationResponse || s.relays(msg) {
			kept = append(kept, msg...)
		}
	})
	s.inbox = kept
}

// stamp gives a notification the process ID that the client is to see: for one of its own that which it was given. Nobody else
// may have the same.
func (s *Session) stamp(msg []byte, own bool) {
	if len(msg) < wire.HeaderLen+4 {
		return
	}
	pid := msg[wire.HeaderLen : wire.HeaderLen+4]
	switch {
	case own:
		binary.BigEndian.PutUint32(pid, s.shownPID)
	case binary.BigEndian.Uint32(pid) == s.shownPID:
		binary.BigEndian.PutUint32(pid, 0)
	}
}

// notification is one that the upstream has sent.
func (s *Session) notification(msg []byte) {
	if len(msg) >= wire.HeaderLen+4 {
		s.stamp(msg, binary.BigEndian.Uint32(msg[wire.HeaderLen:]) == s.pid)
	}
}

// listenAgain is SQL that has an upstream listen on the channels that nobody receives.
func (s *Session) listenAgain() string {
	var b strings.Builder
	for _, name := range s.Unrelayed() {
		b.WriteString("LISTEN " + QuoteIdentifier(name) + ";\n")
	}
	return b.String()
}

// listens takes in that the upstream has been sent listenAgain, and reports whether that was of any use.
func (s *Session) listens() (again bool) {
	for _, c := range s.settings.channels {
		if !c.relayed && !c.here {
			c.here, again = true, true
		}
	}
	return again
}

// deaf is the loss of an upstream that listened.
func (s *Session) deaf() {
	for _, c := range s.settings.channels {
		c.here = false
	}
}
