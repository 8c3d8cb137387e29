package pooler

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// denied is why somebody is not let in. The client learns no more than that its password is wrong, whatever is.
type denied struct{ why string }

func (d *denied) Error() string { return d.why }

// uncheckedError is why it cannot be told whether somebody may come in.
type uncheckedError struct{ err error }

func (e *uncheckedError) Error() string { return e.err.Error() }

func (e *uncheckedError) Unwrap() error { return e.err }

// login checks who the client is, and begins its session.
func (c *client) login(ctx context.Context, packet []byte) error {
	params, err := startupParameters(packet)
	if err != nil {
		return err
	}
	user, database := params["user"], params["database"]
	if database == "" {
		database = user
	}
	if user == "" {
		return &problem{"28000", "no PostgreSQL user name specified in startup packet"}
	}
	if err := c.prove(ctx, user); err != nil {
		return toldTo(user, err)
	}
	if err := c.server.admit(c, user, database); err != nil {
		return err
	}
	key := c.listener.key(database)
	if c.shared, err = c.server.pools.take(key); err != nil {
		return &problem{"XX000", err.Error()}
	}
	if c.mount, err = c.shared.pool.Dial(context.Background()); err != nil {
		return &problem{"XX000", err.Error()}
	}
	// Who the client is, is settled; the session is the cluster's user's.
	delete(params, "user")
	delete(params, "database")
	_, err = c.mount.Write(startupPacket(binary.BigEndian.Uint32(packet[4:]), c.shared.source.Conn.User, database, params))
	if err != nil {
		return fmt.Errorf("begin the session: %w", err)
	}
	return nil
}

func noCluster(name string) error {
	return &problem{"08004", fmt.Sprintf("fairlead: there is no cluster %q any more", name)}
}

// plainLogin asks for a password in the clear, which may be a token.
func (c *client) plainLogin(ctx context.Context, user string, all *logins) (p proof, err error) {
	if err := c.send(&pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return proof{}, err
	}
	body, err := c.readMessage('p')
	if err != nil {
		return proof{}, err
	}
	password, rest, ok := wire.CString(body)
	if !ok || len(rest) != 0 {
		return proof{}, &problem{"08P01", "invalid password packet"}
	}
	p = proof{password: string(password)}
	return p, c.checkPlain(ctx, user, p.password, all)
}

// checkPlain checks a password that may be a token.
func (c *client) checkPlain(ctx context.Context, user, password string, all *logins) error {
	if password == "" {
		return &denied{"the password is empty"}
	}
	if text, ok := strings.CutPrefix(password, awscreds.STSPrefix); ok {
		return all.roles[c.listener.Cluster].login(ctx, user, text)
	}
	if t, ok := parseToken(password); ok {
		return c.tokenLogin(ctx, user, t, all)
	}
	if c.listener.IAMAuth == IAMRequired {
		return &denied{"the password is no IAM token, and iam_auth is required"}
	}
	a, err := all.account(ctx, c.listener.Cluster, user)
	if err != nil {
		return err
	}
	_, err = a.check(ctx, func(stored scram.StoredCredentials) (string, bool) { return "", is(password, stored) })
	return err
}

// toldTo is what a client learns of a login that failed, and behind it what the log has.
func toldTo(user string, err error) error {
	var p *problem
	var d *denied
	var u *uncheckedError
	switch {
	case errors.As(err, &p):
		return err
	case errors.As(err, &d):
		return fmt.Errorf("%w (%w)", &problem{"28P01", fmt.Sprintf("password authentication failed for user %q", user)}, err)
	case errors.As(err, &u):
		return fmt.Errorf("%w (%w)", &problem{"57P03", "fairlead: the login cannot be checked at the moment"}, err)
	}
	return err
}

// trusted refuses a client that is not to be trusted to be who it says it is.
func (c *client) trusted(user string, cfg *Config) error {
	if c.listener.unix() && !samePeer(c.raw) {
		return &problem{"28000", fmt.Sprintf("fairlead: peer authentication failed for user %q: the socket trusts the operating system's user that the pooler runs as, and root", user)}
	}
	if !cfg.knows(c.listener.Cluster, user) {
		return &problem{"28000", fmt.Sprintf("fairlead: user %q is not known here: the pool logs in as %q", user, cfg.Clusters[c.listener.Cluster].Database.Conn.User)}
	}
	return nil
}

// knows reports whether a user is one that nobody but the configuration vouches for: the DSN's, or one of Users.
func (c *Config) knows(cluster, user string) bool {
	_, listed := c.Users[user]
	return listed || user == c.Clusters[cluster].Database.Conn.User
}
