package pooler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/xdg-go/scram"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/mount"
)

const (
	// answerLife is how long an answer of an authQuery is used.
	answerLife = 10 * time.Second
	// answerFresh is how old one must be to be read again because a password was refused.
	answerFresh = time.Second
	// answersKept is how many there are at most, of users who are there and of others.
	answersKept = 10000
	// queryConnections is how many connections a cluster's authQuery has at most.
	queryConnections = 2
	// queryIdle is how long they stay when nobody asks.
	queryIdle = time.Minute
	// leaveTimeout bounds taking leave of the server.
	leaveTimeout = time.Second
)

// standing asks what the server has on a role beside its password: whether it may log in, how many seconds its password is still valid
// for, and whether it may become the role that sessions run as, which is the one that asks if there is no other.
const standing = `SELECT r.rolcanlogin, CASE WHEN r.rolvaliduntil operator(pg_catalog.=) '-infinity' THEN 0 WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN
extract(epoch FROM r.rolvaliduntil operator(pg_catalog.-) pg_catalog.clock_timestamp())::pg_catalog.float8 END,
EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER')
AND o.rolname operator(pg_catalog.=) CASE WHEN $2::pg_catalog.text operator(pg_catalog.=) '' THEN session_user ELSE $2::pg_catalog.name END)
FROM pg_catalog.pg_roles r WHERE r.rolname operator(pg_catalog.=) $1`

// authQuery reads verifiers from a database, over connections that no client has a part in.
type authQuery struct {
	query string
	owner string // whom sessions run as; "": the user that asks
	salt  func(user string) []byte
	log   *slog.Logger

	pool  *mount.Pool
	way   *pgconn.Config      // to a session of the pool
	conns chan *pgconn.PgConn // those that nobody uses; nil: one may be made
	idle  *time.Timer         // closes them

	answers *recent[string, answer]
	flights *flights[answer]
}

// answer is what is known of a user. It does not change.
type answer struct {
	stored scram.StoredCredentials
	why    string // nobody can log in; "": who knows the password can
	read   time.Time
}

func newAuthQuery(k *Cluster, salt func(string) []byte, log *slog.Logger) (*authQuery, error) {
	q := &authQuery{
		query: k.AuthQuery, owner: k.Database.Conn.User, salt: salt, log: log, conns: make(chan *pgconn.PgConn, queryConnections),
		answers: newRecent[string, answer](answersKept), flights: newFlights[answer](),
	}
	own := k.AuthDatabase
	if own == nil {
		own = k.Database
		if own.Auth == driver.AuthSecret {
			q.owner = "" // the secret says who
		}
	}
	cfg := own.Copy()
	cfg.PoolMode, cfg.Logger = driver.PoolSession, log
	// Nothing that is called without its schema is anybody else's than the server's own.
	cfg.Conn.RuntimeParams["search_path"] = "pg_catalog"
	cfg.Conn.RuntimeParams["application_name"] = "fairlead-auth"
	m, err := mount.ConfigOf(cfg)
	if err != nil {
		return nil, err
	}
	if q.pool, err = mount.NewPool(m); err != nil {
		return nil, err
	}
	q.way = cfg.Conn.Config.Copy()
	q.pool.DialThrough(q.way)
	for range queryConnections {
		q.conns <- nil
	}
	q.idle = time.AfterFunc(queryIdle, q.rest)
	return q, nil
}

// with has f use a connection.
func (q *authQuery) with(ctx context.Context, f func(*pgconn.PgConn) error) (err error) {
	var pg *pgconn.PgConn
	select {
	case pg = <-q.conns:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() {
		q.conns <- pg
		q.idle.Reset(queryIdle)
	}()
	if pg == nil || pg.IsClosed() {
		if pg, err = pgconn.ConnectConfig(ctx, q.way); err != nil {
			pg = nil
			return err
		}
	}
	return f(pg)
}

// rest closes the connections that nobody uses.
func (q *authQuery) rest() {
	for range queryConnections {
		select {
		case pg := <-q.conns:
			leave(pg)
			q.conns <- nil
		default:
		}
	}
}

// close ends what is under way.
func (q *authQuery) close() {
	q.flights.close()
	q.idle.Stop()
	for range queryConnections { // one may be with rest
		leave(<-q.conns)
	}
}

func leave(pg *pgconn.PgConn) {
	if pg == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	_ = pg.Close(ctx) // there is nothing in it
}

// account is that of a user, as the database has it now or had it a moment ago.
func (q *authQuery) account(ctx context.Context, user string) (account, error) {
	a, ok := q.answers.get(user)
	if !ok {
		var err error
		if a, err = q.ask(ctx, user); err != nil {
			return account{}, err
		}
	}
	if a.why != "" {
		return unknown(q.salt(user), a.why), nil
	}
	return account{stored: a.stored, anew: func(ctx context.Context) ([]scram.StoredCredentials, error) {
		if time.Since(a.read) < answerFresh {
			return nil, nil
		}
		now, err := q.ask(ctx, user)
		if err != nil || now.why != "" {
			return nil, err
		}
		return []scram.StoredCredentials{now.stored}, nil
	}}, nil
}

// ask asks the database, once however many want to know.
func (q *authQuery) ask(ctx context.Context, user string) (answer, error) {
	return q.flights.do(ctx, user, func(ctx context.Context) (answer, error) {
		if a, ok := q.answers.get(user); ok && time.Since(a.read) < answerFresh {
			return a, nil
		}
		a, valid, err := q.read(ctx, user)
		if err != nil {
			if !errors.Is(context.Cause(ctx), errLoginsOver) {
				q.log.Warn("nobody can log in by auth_query at the moment", "error", err)
			}
			return a, &uncheckedError{fmt.Errorf("auth_query: %w", err)}
		}
		q.answers.put(user, a, a.read.Add(min(valid, answerLife)))
		return a, nil
	})
}

// read asks for a user's verifier, and what the server has on him beside it. valid is how long the answer holds at most.
func (q *authQuery) read(ctx context.Context, user string) (a answer, valid time.Duration, err error) {
	a.read, valid = time.Now(), answerLife
	var password string
	var found bool
	var has role
	err = q.with(ctx, func(pg *pgconn.PgConn) (err error) {
		if password, found, err = q.password(ctx, pg, user); err != nil {
			return err
		}
		has, err = q.standing(ctx, pg, user)
		return err
	})
	if err != nil {
		return a, 0, err
	}
	if has.ends {
		valid = min(valid, has.valid)
	}
	switch {
	case !found:
		a.why = "auth_query does not find the user"
	case has.is && !has.login:
		a.why = "the role may not log in"
	case has.is && valid <= 0:
		a.why = "the role's password has expired (VALID UNTIL)"
	case has.is && !has.member:
		a.why = fmt.Sprintf("the role may not become the user that sessions run as: GRANT %s TO it, if it may come in", q.sessionUser())
	case password == "":
		a.why = "the user has no password"
	default:
		if a.stored, err = parseVerifier(password); err != nil {
			a.why = "auth_query: what it gives as the user's verifier cannot be used: " + err.Error()
			q.log.Warn("a user cannot log in by auth_query", "user", user, "error", err)
		}
	}
	if a.why != "" {
		return a, answerLife, nil
	}
	return a, valid, nil
}

func (q *authQuery) sessionUser() string {
	if q.owner == "" {
		return "the secret's user"
	}
	return q.owner
}

// password is what the query finds. Nobody is found under a name that is not the one that was asked for: the server cuts names
// that are too long.
func (q *authQuery) password(ctx context.Context, pg *pgconn.PgConn, user string) (password string, found bool, err error) {
	r := pg.ExecParams(ctx, q.query, [][]byte{[]byte(user)}, nil, nil, nil)
	times := 0
	for r.NextRow() {
		if row := r.Values(); len(row) == 2 && string(row[0]) == user {
			password = string(row[1])
			times++
		}
	}
	var columns []string
	for _, f := range r.FieldDescriptions() {
		columns = append(columns, f.Name)
	}
	_, err = r.Close()
	switch {
	case err != nil:
		return "", false, err
	case len(columns) != 2:
		return "", false, fmt.Errorf("it gives %d columns (%s): a user's name and what the server keeps of the password are expected", len(columns), strings.Join(columns, ", "))
	case times > 1:
		return "", false, errors.New("it gives several rows for one user")
	}
	return password, times == 1, nil
}

// role is what the server has on a user beside the password.
type role struct {
	is, login, member bool
	ends              bool // the password does, after valid
	valid             time.Duration
}

func (q *authQuery) standing(ctx context.Context, pg *pgconn.PgConn, user string) (has role, err error) {
	r := pg.ExecParams(ctx, standing, [][]byte{[]byte(user), []byte(q.owner)}, nil, nil, nil).Read()
	if r.Err != nil || len(r.Rows) == 0 {
		return has, r.Err
	}
	row := r.Rows[0]
	has = role{is: true, login: string(row[0]) == "t", member: string(row[2]) == "t", ends: row[1] != nil}
	if has.ends {
		seconds, err := strconv.ParseFloat(string(row[1]), 64)
		if err != nil {
			return has, fmt.Errorf("how long the password is valid: %w", err)
		}
		has.valid = time.Duration(min(seconds, answerLife.Seconds()) * float64(time.Second))
	}
	return has, nil
}
