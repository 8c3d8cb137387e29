package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/topology"
)

// maxRefused is how many credentials one login tries, whatever the provider has, so that no account is locked.
const maxRefused = 5

// CredentialError says that a login had nothing to log in with. That tells nothing of the instance.
type CredentialError struct {
	Target credentials.Target
	Err    error // the provider's
	// Refused is the server's answer to the last credential that was tried, nil if none was.
	Refused error
}

// Error says what was missing, and what the server has said before.
func (e *CredentialError) Error() string {
	if e.Refused != nil {
		return fmt.Sprintf("fairlead: log in to %s: %v; %v", e.Target, e.Refused, e.Err)
	}
	return fmt.Sprintf("fairlead: log in to %s: %v", e.Target, e.Err)
}

// Unwrap returns the provider's error and the server's.
func (e *CredentialError) Unwrap() []error {
	if e.Refused != nil {
		return []error{e.Err, e.Refused}
	}
	return []error{e.Err}
}

// lacking returns the CredentialError in err, and whether it may pass by itself.
func lacking(err error) (e *CredentialError, passes bool) {
	if !errors.As(err, &e) {
		return nil, false
	}
	unavailable := (*credentials.UnavailableError)(nil)
	return e, errors.As(e.Err, &unavailable)
}

// enter logs in as cfg says, with what the provider of credentials has. A credential that is refused is told to it and
// replaced by another at once.
func (l *Login) enter(ctx context.Context, cfg *pgconn.Config) (*pgconn.PgConn, error) {
	if l.Credentials == nil {
		return pgconn.ConnectConfig(ctx, cfg)
	}
	return l.enterWith(ctx, cfg, l.Credentials)
}

func (l *Login) enterWith(ctx context.Context, cfg *pgconn.Config, from credentials.Provider) (*pgconn.PgConn, error) {
	target := credentials.Target{Host: cfg.Host, Port: cfg.Port, User: cfg.User}
	if !l.owns(topology.Endpoint{Host: cfg.Host, Port: cfg.Port}) {
		return nil, &CredentialError{Target: target, Err: errors.New("it is neither a host of the DSN nor one of instance_host_pattern, and gets no credential")}
	}
	var refused []credentials.Refusal
	for {
		c, err := obtain(ctx, from, target, refused)
		if err != nil {
			return nil, err
		}
		try, err := with(cfg, c)
		if err != nil {
			return nil, &CredentialError{Target: target, Err: err}
		}
		pg, err := pgconn.ConnectConfig(ctx, try)
		if asksInTheClear(try, err) {
			return nil, &CredentialError{Target: target, Err: ErrClear}
		}
		if err == nil || !refusesCredential(err) {
			return pg, err
		}
		refused = append(refused, credentials.Refusal{Credential: c, Err: err})
	}
}

// obtain asks the provider. Once the server has refused something, it is waited here for what cannot be had yet: to begin
// the login anew would mean to have the same refused again.
func obtain(ctx context.Context, from credentials.Provider, t credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
	e := &CredentialError{Target: t}
	if n := len(refused); n > 0 {
		e.Refused = refused[n-1].Err
	}
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(0))
	for {
		if len(refused) >= maxRefused {
			e.Err = fmt.Errorf("%d credentials were refused: %w", len(refused), credentials.ErrExhausted)
			return nil, e
		}
		c, err := from.Credential(ctx, t, refused)
		switch {
		case err == nil && credentials.Refused(refused, c):
			e.Err = fmt.Errorf("what was refused was given again: %w", credentials.ErrExhausted)
			return nil, e
		case err == nil:
			return c, nil
		}
		e.Err = err
		if _, passes := lacking(e); !passes || len(refused) == 0 {
			return nil, e
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, e
		}
	}
}

// with is cfg with a credential in it, which is given to nobody who could misuse it.
func with(cfg *pgconn.Config, c *credentials.Credential) (*pgconn.Config, error) {
	cfg = cfg.Copy()
	if c.User != "" {
		cfg.User = c.User
	}
	cfg.Password = c.Password.Reveal()
	return cfg, Guard(cfg, c.Bearer)
}

// errUnverified refuses to send a token to whoever takes it.
var errUnverified = errors.New("a token is sent only to a server whose certificate is verified: set sslmode=verify-full, and sslrootcert to who signs it (rds for RDS)")

// ErrClear is a server that asks for a password in the clear, and may be anybody.
var ErrClear = errors.New("the server asks for the password in the clear, and its certificate is not verified: set sslmode=verify-full (require_auth=password sends it all the same)")

// noClear is pgconn's require_auth for servers that may be anybody.
const noClear = "!password"

// Guard takes from cfg the ways to servers that are not verified, if the password is a token that whoever reads it can use. Of other
// passwords such servers get no more than a proof, unless require_auth says so.
func Guard(cfg *pgconn.Config, bearer bool) error {
	if !bearer {
		unverified := !Verifies(cfg.TLSConfig) || slices.ContainsFunc(cfg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return !Verifies(f.TLSConfig) })
		local := strings.HasPrefix(cfg.Host, "/") || strings.HasPrefix(cfg.Host, "@")
		switch given := cfg.RequireAuth; {
		case local || !unverified || strings.Contains(given, noClear):
		case given == "":
			cfg.RequireAuth = noClear
		case strings.HasPrefix(given, "!"):
			cfg.RequireAuth = given + "," + noClear
		}
		return nil
	}
	cfg.Fallbacks = slices.DeleteFunc(slices.Clone(cfg.Fallbacks), func(f *pgconn.FallbackConfig) bool { return !Verifies(f.TLSConfig) })
	if Verifies(cfg.TLSConfig) {
		return nil
	}
	if len(cfg.Fallbacks) == 0 {
		return errUnverified
	}
	first := cfg.Fallbacks[0]
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = first.Host, first.Port, first.TLSConfig, cfg.Fallbacks[1:]
	return nil
}

// asksInTheClear reports whether a login ended because the server asked for what Guard forbids.
func asksInTheClear(cfg *pgconn.Config, err error) bool {
	return err != nil && strings.Contains(cfg.RequireAuth, noClear) && strings.Contains(err.Error(), "require_auth check failed")
}

// refusesCredential reports whether a server has refused the user or the password.
func refusesCredential(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "28P01" || pg.Code == "28000")
}

// owns reports whether an endpoint is one of the cluster's own: a host of the DSN, or an instance by the pattern.
func (l *Login) owns(ep topology.Endpoint) bool {
	for _, h := range l.hosts {
		if h.endpoint.Port == ep.Port && strings.EqualFold(h.endpoint.Host, ep.Host) {
			return true
		}
	}
	pattern, _, _ := strings.Cut(strings.ToLower(l.HostPattern), ":")
	before, after, ok := strings.Cut(pattern, "?")
	if !ok {
		return false
	}
	id, ok := strings.CutPrefix(strings.ToLower(ep.Host), before)
	if !ok {
		return false
	}
	id, ok = strings.CutSuffix(id, after)
	return ok && id != "" && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
