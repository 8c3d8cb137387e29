package pooler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/xdg-go/scram"

	"github.com/fairlead-go/fairlead/driver"
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
	// queryIdle is how long one stays that is not needed.
	queryIdle = time.Minute
)

// standing asks what the server has on a role beside its password: whether it may log in, how many seconds its password is still valid
// for, and whether it may become the role that sessions run as, which is the one that asks if there is no other.
const standing = `SELECT r.rolcanlogin, CASE WHEN r.rolvaliduntil = '-infinity' THEN 0 WHEN isfinite(r.rolvaliduntil) THEN
extract(epoch FROM r.rolvaliduntil - clock_timestamp())::float8 END,
EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.rolname = coalesce(nullif($2::text, ''), session_user::text)::name AND pg_has_role(r.oid, o.oid, 'MEMBER'))
FROM pg_catalog.pg_roles r WHERE r.rolname = $1`

// authQuery reads verifiers from a database, over connections that no client has a part in.
type authQuery struct {
	query string
	owner string         // whom sessions run as; "": the user that asks
	db    func() *sql.DB // opened when it is needed first
	salt  func(user string) []byte
	log   *slog.Logger

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
	q := &authQuery{query: k.AuthQuery, owner: k.Database.Conn.User, salt: salt, log: log, answers: newRecent[string, answer](answersKept), flights: newFlights[answer]()}
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
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	q.db = sync.OnceValue(func() *sql.DB {
		db := sql.OpenDB(connector)
		db.SetMaxOpenConns(queryConnections)
		db.SetConnMaxIdleTime(queryIdle)
		return db
	})
	return q, nil
}

// close ends what is under way.
func (q *authQuery) close() {
	q.flights.close()
	_ = q.db().Close() // there is nothing in it
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
	conn, err := q.db().Conn(ctx)
	if err != nil {
		return a, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	password, found, err := q.password(ctx, conn, user)
	if err != nil {
		return a, 0, err
	}
	var login, member bool
	var seconds sql.NullFloat64
	err = conn.QueryRowContext(ctx, standing, user, q.owner).Scan(&login, &seconds, &member)
	role := !errors.Is(err, sql.ErrNoRows)
	if err != nil && role {
		return a, 0, err
	}
	if role && seconds.Valid {
		valid = min(valid, time.Duration(seconds.Float64*float64(time.Second)))
	}
	switch {
	case !found:
		a.why = "auth_query does not find the user"
	case role && !login:
		a.why = "the role may not log in"
	case role && valid <= 0:
		a.why = "the role's password has expired (VALID UNTIL)"
	case role && !member:
		a.why = fmt.Sprintf("the role may not become the user that sessions run as: GRANT %s TO it, if it may come in", q.sessionUser())
	case password == "":
		a.why = "the user has no password"
	case strings.HasPrefix(password, "md5"):
		a.why = "the user's password is kept as MD5"
		q.log.Warn("a user cannot log in: his password is kept as MD5; set password_encryption = 'scram-sha-256' on the server, and his password anew", "user", user)
	}
	if a.why != "" {
		return a, answerLife, nil
	}
	if a.stored, err = verifier(password, q.salt(user)); err != nil {
		return a, 0, fmt.Errorf("user %q: %w", user, err)
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
func (q *authQuery) password(ctx context.Context, conn *sql.Conn, user string) (password string, found bool, err error) {
	rows, err := conn.QueryContext(ctx, q.query, user)
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return "", false, err
	}
	if len(columns) != 2 {
		return "", false, fmt.Errorf("it gives %d columns (%s): a user's name and what the server keeps of the password are expected", len(columns), strings.Join(columns, ", "))
	}
	for rows.Next() {
		var name, secret sql.NullString
		if err := rows.Scan(&name, &secret); err != nil {
			return "", false, err
		}
		if name.String != user {
			continue
		}
		if found {
			return "", false, errors.New("it gives several rows for one user")
		}
		password, found = secret.String, true
	}
	return password, found, rows.Err()
}
