package pooler

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/credentials"
)

const (
	// tokenLife is how long a token is good for at most, which is as long as AWS takes one.
	tokenLife = 15 * time.Minute
	// tokensKept is how many tokens of a cluster are known to be good at most.
	tokensKept = 10000
	// proofsAtOnce bounds the logins to a cluster by which tokens are proved.
	proofsAtOnce = 10
	// proofGap is the time between two such logins of one user on the average, and proofBurst how much may be made up for.
	proofGap   = 200 * time.Millisecond
	proofBurst = 2 * time.Second
)

// token is an IAM token as RDS takes them: a signed request to connect.
type token struct {
	text, user string
	end        time.Time
}

// parseToken reads what a token says. Nothing is proved by it. What says something twice could say one thing here and another to
// the server, and is no token.
func parseToken(password string) (t token, ok bool) {
	u, err := url.Parse("https://" + password)
	if err != nil {
		return t, false
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || q.Get("Action") != "connect" || q.Get("DBUser") == "" || q.Get("X-Amz-Signature") == "" {
		return t, false
	}
	for _, values := range q {
		if len(values) != 1 {
			return t, false
		}
	}
	end, err := signatureEnd(q)
	return token{password, q.Get("DBUser"), end}, err == nil
}

// signatureEnd is when a request that was signed beforehand is good no more.
func signatureEnd(q url.Values) (time.Time, error) {
	const layout = "20060102T150405Z"
	at, err := time.Parse(layout, q.Get("X-Amz-Date"))
	if err != nil || at.Format(layout) != q.Get("X-Amz-Date") { // fractions of a second are taken as well
		return time.Time{}, errors.New("X-Amz-Date is no time")
	}
	seconds, err := strconv.ParseUint(q.Get("X-Amz-Expires"), 10, 32)
	if most := uint64(tokenLife / time.Second); err != nil || seconds == 0 || seconds > most {
		return time.Time{}, fmt.Errorf("X-Amz-Expires is no number of seconds up to %d", most)
	}
	return at.Add(time.Duration(seconds) * time.Second), nil
}

// tokens are those of a cluster that are known to be good, each for its user. None is kept itself, only a digest that nobody
// else can make.
type tokens struct {
	own     string // the database that the cluster's DSN names
	owner   string // whom sessions run as
	key     []byte
	good    *recent[string, struct{}]
	flights *flights[struct{}]
	slots   chan struct{}

	pacing sync.Mutex
	due    *recent[string, time.Time] // when a user's next proof is; guarded by pacing
}

func newTokens(own *pgx.ConnConfig, key []byte) *tokens {
	return &tokens{
		own: own.Database, owner: own.User, key: key, good: newRecent[string, struct{}](tokensKept), flights: newFlights[struct{}](),
		slots: make(chan struct{}, proofsAtOnce), due: newRecent[string, time.Time](tokensKept),
	}
}

// tokenLogin has a token proved, unless it is known to be good for this user.
func (c *client) tokenLogin(ctx context.Context, user string, t token, all *logins) error {
	now := time.Now()
	switch {
	case t.user != user:
		return &denied{fmt.Sprintf("the IAM token is for user %q", t.user)}
	case !now.Before(t.end):
		return &denied{"the IAM token has expired"}
	}
	k := all.tokens[c.listener.Cluster]
	digest := k.digest(user, t.text)
	if _, ok := k.good.get(digest); ok {
		return nil
	}
	_, err := k.flights.do(ctx, digest, func(ctx context.Context) (none struct{}, err error) {
		if _, ok := k.good.get(digest); ok {
			return none, nil
		}
		if err := k.turn(ctx, user); err != nil {
			return none, err
		}
		defer func() { <-k.slots }()
		if err := c.proveToken(ctx, t, k); err != nil {
			return none, err
		}
		until := t.end
		if latest := time.Now().Add(tokenLife); until.After(latest) {
			until = latest // the local clock is behind
		}
		k.good.put(digest, none, until)
		return none, nil
	})
	return err
}

// digest tells tokens apart, and users: one's token is nothing to another.
func (k *tokens) digest(user, text string) string {
	return string(mac(k.key, string(binary.BigEndian.AppendUint32(nil, uint32(len(user))))+user+text))
}

// turn waits for a place among those that prove tokens, and takes it.
func (k *tokens) turn(ctx context.Context, user string) error {
	busy := &uncheckedError{fmt.Errorf("too many IAM tokens of user %q are to be proved", user)}
	wait, ok := k.reserve(ctx, user)
	if !ok {
		return busy
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return busy
	}
	select {
	case k.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return busy
	}
}

// reserve is how long it is until a user's next turn, if that comes before ctx ends.
func (k *tokens) reserve(ctx context.Context, user string) (wait time.Duration, ok bool) {
	k.pacing.Lock()
	defer k.pacing.Unlock()
	now := time.Now()
	due, found := k.due.get(user)
	if !found {
		due = now
	}
	wait = due.Sub(now) - proofBurst
	if until, ends := ctx.Deadline(); ends && now.Add(wait).After(until) {
		return 0, false
	}
	due = due.Add(proofGap)
	k.due.put(user, due, due)
	return max(0, wait), true
}

// proveToken logs in to the cluster's writer with the token, as the user that it is for.
func (c *client) proveToken(ctx context.Context, t token, k *tokens) error {
	l := c.listener
	p, err := c.server.pools.take(l.key(k.own))
	if err != nil {
		return &uncheckedError{err}
	}
	defer c.server.pools.leave(p)
	err = p.pool.Prove(ctx, credentials.Credential{User: t.user, Password: credentials.NewSecret(t.text), Bearer: true, Label: "a client's IAM token"},
		func(ctx context.Context, pg *pgconn.PgConn) error { return mayBecome(ctx, pg, k.owner) })
	var d *denied
	var refused *pgconn.PgError
	switch {
	case err == nil || errors.As(err, &d):
		return err
	case errors.As(err, &refused) && (strings.HasPrefix(refused.Code, "28") || refused.Code == "42501"):
		return &denied{"the server refuses the IAM token: " + refused.Message}
	}
	c.server.log.Warn("an IAM token cannot be proved at the moment", "cluster", l.Cluster, "user", t.user, "error", err)
	return &uncheckedError{fmt.Errorf("prove an IAM token: %w", err)}
}

// mayBecome asks whether the server would let who is logged in become the user that sessions run as.
func mayBecome(ctx context.Context, pg *pgconn.PgConn, owner string) error {
	r := pg.ExecParams(ctx, "SELECT FROM pg_catalog.pg_roles o WHERE o.rolname operator(pg_catalog.=) $1 AND pg_catalog.pg_has_role(session_user, o.oid, 'MEMBER')",
		[][]byte{[]byte(owner)}, nil, nil, nil).Read()
	switch {
	case r.Err != nil:
		return r.Err
	case len(r.Rows) == 0:
		return &denied{fmt.Sprintf("the role may not become the user that sessions run as: GRANT %s TO it, if it may come in", owner)}
	}
	return nil
}
