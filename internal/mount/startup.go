package mount

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// startup answers what a client sends before it is connected: requests for encryption, a CancelRequest, the startup
// message. There is no socket between the two sides, so encryption is declined and no password asked for. mu is held.
func (m *Conn) startup(p []byte) (int, error) {
	m.start = append(m.start, p...)
	for {
		if len(m.start) < 8 {
			return len(p), nil
		}
		n := int(binary.BigEndian.Uint32(m.start))
		if n < 8 || n > 10000 {
			return m.refuseStartup(p, "08P01", "invalid length of startup packet")
		}
		if len(m.start) < n {
			return len(p), nil
		}
		packet := m.start[:n]
		m.start = m.start[n:]
		switch code := binary.BigEndian.Uint32(packet[4:]); code {
		case wire.CodeSSL, wire.CodeGSSEnc:
			m.pend = append(m.pend, 'N')
			m.tell()
		case wire.CodeCancel:
			m.cancelOther(packet[8:])
			m.end = io.EOF
			m.terminate()
			return len(p), nil
		default:
			if code>>16 != 3 {
				return m.refuseStartup(p, "0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: it supports 3.0", code>>16, code&0xffff))
			}
			m.start = nil
			return m.startSession(p, packet)
		}
	}
}

// cancelOther is a CancelRequest that came over a connection of its own, as lib/pq dials it.
func (m *Conn) cancelOther(pidAndKey []byte) {
	key := slices.Clone(pidAndKey)
	m.mu.Unlock()
	defer m.mu.Lock()
	m.pool.mounts.Range(func(_, other any) bool {
		if o := other.(*Conn); o != m {
			_ = o.cancelRequest(context.Background(), key) // a client is not told either what became of its request
		}
		return true
	})
}

func (m *Conn) startSession(p, packet []byte) (int, error) {
	var msg pgproto3.StartupMessage
	asked := binary.BigEndian.Uint32(packet[4:])
	if asked != pgproto3.ProtocolVersion30 {
		packet = slices.Clone(packet) // a newer one differs in nothing that is read here
		binary.BigEndian.PutUint32(packet[4:], pgproto3.ProtocolVersion32)
	}
	if err := msg.Decode(packet[4:]); err != nil {
		return m.refuseStartup(p, "08P01", "invalid startup packet: "+err.Error())
	}
	msg.ProtocolVersion = asked
	cfg := m.pool.cfg.Login
	if user := msg.Parameters["user"]; user != cfg.User {
		return m.refuseStartup(p, "28000", fmt.Sprintf("fairlead: this connection logs in as %q, and cannot serve %q", cfg.User, user))
	}
	if db := msg.Parameters["database"]; db != "" && db != cfg.Database && cfg.Database != "" {
		return m.refuseStartup(p, "3D000", fmt.Sprintf("fairlead: this connection is to database %q, and cannot serve %q", cfg.Database, db))
	}
	adopt := m.adoptSettings
	if m.pool.lender != nil {
		adopt = m.adoptBase
	}
	if problem := adopt(msg.Parameters); problem != nil {
		return m.rejectStartup(p, problem)
	}
	params := m.params
	if m.up != nil {
		params = m.up.Params
	} else if params == nil {
		return 0, net.ErrClosed // closed while the settings were being made
	}
	m.ready, m.params = true, nil
	m.s.Adopt(params)
	m.s.ShowPID(m.pid)
	m.negotiate(&msg)
	if m.pool.lender != nil && m.up != nil {
		m.pool.keys.Store(m.pidAndKey(), m)
	}
	m.answer(&pgproto3.AuthenticationOk{})
	for _, name := range slices.Sorted(maps.Keys(params)) {
		m.answer(&pgproto3.ParameterStatus{Name: name, Value: params[name]})
	}
	m.answer(&pgproto3.BackendKeyData{ProcessID: m.pid, SecretKey: m.key})
	m.answer(&pgproto3.ReadyForQuery{TxStatus: wire.StatusIdle})
	m.tell()
	return len(p), nil
}

// negotiate answers a request for a protocol or for options of it that are not known here.
func (m *Conn) negotiate(msg *pgproto3.StartupMessage) {
	newest := uint32(pgproto3.ProtocolVersion30)
	if m.pool.lender != nil {
		newest = pgproto3.ProtocolVersion32
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(msg.Parameters)) {
		if strings.HasPrefix(name, protocolOption) {
			unknown = append(unknown, name)
		}
	}
	if msg.ProtocolVersion > newest || newest == pgproto3.ProtocolVersion32 && msg.ProtocolVersion == newest-1 || len(unknown) > 0 {
		m.answer(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: newest, UnrecognizedOptions: unknown})
	}
	if msg.ProtocolVersion >= pgproto3.ProtocolVersion32 && newest == pgproto3.ProtocolVersion32 {
		m.key = make([]byte, 32)
		_, _ = rand.Read(m.key) // never fails
	}
}

// protocolOption begins the names of startup parameters that are the protocol's own.
const protocolOption = "_pq_."

// adoptSettings gives the session run-time parameters of its startup that the pool's login does not set: pgx sends the
// same ones, lib/pq has some of its own.
func (m *Conn) adoptSettings(params map[string]string) *session.Problem {
	var sql strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if name == "user" || name == "database" || name == "options" && value == "" || m.pool.cfg.Login.RuntimeParams[name] == value {
			continue
		}
		if name == "options" || name == "replication" {
			return &session.Problem{Code: "0A000", Message: fmt.Sprintf("fairlead: the startup parameter %q can be set in fairlead's own DSN only", name)}
		}
		// Unlike SET, set_config takes a list as it stands in a startup packet.
		set := fmt.Sprintf("SELECT pg_catalog.set_config(%s, %s, false)", session.Quote(name), session.Quote(value))
		m.s.Set(strings.ToLower(name), set)
		sql.WriteString(set + ";")
	}
	if sql.Len() == 0 {
		return nil
	}
	ctx, leave := m.enter(writes)
	defer leave()
	u := m.up
	var err error
	m.unlocked(func() { _, err = u.Query(ctx, sql.String()) })
	if pg := (*pgconn.PgError)(nil); err == nil || errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" || m.up != u {
		return startupProblem(ctx, err)
	}
	// The upstream was lost. Another one comes with the settings.
	m.up = nil
	u.Close(true)
	m.ticket = m.pool.login.Cluster.Suspect(u.Instance.ID, err)
	up, err := m.attach(ctx)
	if err != nil {
		return startupProblem(ctx, err)
	}
	if m.closed {
		up.Close(true)
		return &session.Problem{Code: session.CodeNoUpstream, Message: "closed"}
	}
	m.up, m.pid = up, up.PID
	up.OnLeave(m.leaves)
	return nil
}

func (m *Conn) refuseStartup(p []byte, code, message string) (int, error) {
	return m.rejectStartup(p, &session.Problem{Code: code, Message: message})
}

func (m *Conn) rejectStartup(p []byte, problem *session.Problem) (int, error) {
	m.answer(&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: problem.Code, Message: problem.Message, Detail: problem.Detail, Hint: problem.Hint,
		File: problem.File, Routine: problem.Routine,
	})
	m.given = true
	m.end = io.EOF
	m.tell()
	return len(p), nil
}

// answer puts a message of the mount's own on its way to the client.
func (m *Conn) answer(msg pgproto3.BackendMessage) {
	b, err := msg.Encode(m.pend)
	if err != nil {
		m.end = fmt.Errorf("fairlead: encode %T: %w", msg, err)
		return
	}
	m.pend = b
}
