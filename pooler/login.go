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
	cfg := c.server.cfg.Load()
	cluster := cfg.Clusters[c.listener.Cluster]
	if cluster == nil {
		return noCluster(c.listener.Cluster)
	}
	user, database := params["user"], params["database"]
	if database == "" {
		database = user
	}
	switch {
	case user == "":
		return &problem{"28000", "no PostgreSQL user name specified in startup packet"}
	case c.crowded:
		return &problem{"53300", fmt.Sprintf("fairlead: %d clients are connected, and no more are allowed (max_client_conn)", cfg.MaxClients)}
	case c.listener.Encryption == EncryptionRequired && c.tls == nil:
		return &problem{"28000", "fairlead: this address takes encrypted connections only: use sslmode=require"}
	}
	if err := c.authenticate(ctx, user, cfg); err != nil {
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

// authenticate has the client prove who it is, in its listener's way.
func (c *client) authenticate(ctx context.Context, user string, cfg *Config) error {
	switch c.listener.Login {
	case LoginTrust:
		return c.trusted(user, cfg)
	case LoginCert:
		return c.certified(user, cfg)
	}
	all, err := c.server.useLogins()
	if err != nil {
		return err
	}
	defer all.leave()
	if all.tokens[c.listener.Cluster] == nil { // there was a reload since
		return noCluster(c.listener.Cluster)
	}
	private := c.tls != nil || c.listener.unix()
	switch {
	case c.listener.IAMAuth == IAMRequired && !private:
		return &problem{"28000", "fairlead: this address takes IAM tokens only, and those over TLS only: use sslmode=verify-full"}
	case c.listener.IAMAuth == IAMDisabled || !private:
		a, err := all.account(ctx, c.listener.Cluster, user)
		if err != nil {
			return err
		}
		return c.scramLogin(ctx, a)
	}
	return c.plainLogin(ctx, user, all)
}

// plainLogin asks for a password in the clear, which may be a token.
func (c *client) plainLogin(ctx context.Context, user string, all *logins) error {
	if err := c.send(&pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return err
	}
	body, err := c.readMessage('p')
	if err != nil {
		return err
	}
	password, rest, ok := wire.CString(body)
	if !ok || len(rest) != 0 {
		return &problem{"08P01", "invalid password packet"}
	}
	if len(password) == 0 {
		return &denied{"the password is empty"}
	}
	if text, ok := strings.CutPrefix(string(password), awscreds.STSPrefix); ok {
		return all.roles[c.listener.Cluster].login(ctx, user, text)
	}
	if t, ok := parseToken(string(password)); ok {
		return c.tokenLogin(ctx, user, t, all)
	}
	if c.listener.IAMAuth == IAMRequired {
		return &denied{"the password is no IAM token, and iam_auth is required"}
	}
	a, err := all.account(ctx, c.listener.Cluster, user)
	if err != nil {
		return err
	}
	_, err = a.check(ctx, func(stored scram.StoredCredentials) (string, bool) { return "", is(string(password), stored) })
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
