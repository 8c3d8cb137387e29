package pooler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/xdg-go/scram"
)

// account is what a password is checked against.
type account struct {
	// stored is of the password, or of one that nobody knows.
	stored scram.StoredCredentials
	// why is why nobody comes in, whatever he knows; "": who knows the password does.
	why string
	// anew is asked when a password was refused, for what it may be by now; nil: there is nothing else.
	anew func(ctx context.Context) ([]scram.StoredCredentials, error)
}

// check has a proof held against what the password is, and then against what it may be by now.
func (a *account) check(ctx context.Context, accept func(scram.StoredCredentials) (answer string, ok bool)) (answer string, err error) {
	answer, ok := accept(a.stored)
	switch {
	case a.why != "":
		return "", &denied{a.why}
	case ok:
		return answer, nil
	case a.anew != nil:
		list, err := a.anew(ctx)
		if err != nil {
			return "", err
		}
		for _, stored := range list {
			if answer, ok := accept(stored); ok {
				return answer, nil
			}
		}
	}
	return "", &denied{"the password is wrong"}
}

// logins are what those who come are checked against: they go with a Config, and are there as long as somebody uses them.
type logins struct {
	key     []byte // of which the salts of unknown users are made
	users   map[string]account
	secrets map[string]*secretUser
	queries map[string]*authQuery // by cluster
	tokens  map[string]*tokens    // by cluster
	roles   map[string]*roles     // by cluster

	mu   sync.Mutex
	uses int  // a Server's, and of clients that log in
	over bool // closed
}

func newLogins(cfg *Config, key []byte, log *slog.Logger) (*logins, error) {
	l := &logins{
		key: key, users: make(map[string]account, len(cfg.Users)), secrets: make(map[string]*secretUser),
		queries: make(map[string]*authQuery), tokens: make(map[string]*tokens), roles: make(map[string]*roles), uses: 1,
	}
	if err := l.open(cfg, log); err != nil {
		l.leave()
		return nil, err
	}
	return l, nil
}

func (l *logins) open(cfg *Config, log *slog.Logger) (err error) {
	for name, u := range cfg.Users {
		switch {
		case u.Secret != nil:
			l.secrets[name], err = newSecretUser(name, *u.Secret, l.salt(name), log)
		case u.Password == "":
			l.users[name] = unknown(l.salt(name), "the user has no password")
		default:
			var a account
			a.stored, err = verifier(u.Password, l.salt(name))
			l.users[name] = a
		}
		if err != nil {
			return fmt.Errorf("pooler: user %q: its password: %w", name, err)
		}
	}
	for name, k := range cfg.Clusters {
		l.tokens[name] = newTokens(k.Database.Conn, l.key)
		l.tokens[name].flights.limit = max(DefaultLoginTimeout, cfg.LoginTimeout) // the database may have to be waited for
		if len(k.IAMRoles) > 0 {
			l.roles[name] = newRoles(k, l.key, log.With("cluster", name))
		}
		if k.AuthQuery == "" {
			continue
		}
		if l.queries[name], err = newAuthQuery(k, l.salt, log.With("cluster", name)); err != nil {
			return fmt.Errorf("pooler: cluster %s: auth_query: %w", name, err)
		}
		l.queries[name].flights.limit = l.tokens[name].flights.limit
	}
	return nil
}

// account is that of a user: of the Config's Users, or as the cluster's own query has it. For somebody unknown it is one that
// takes as long, and is the same each time.
func (l *logins) account(ctx context.Context, cluster, user string) (account, error) {
	if a, ok := l.users[user]; ok {
		return a, nil
	}
	if u := l.secrets[user]; u != nil {
		return u.account(ctx)
	}
	if q := l.queries[cluster]; q != nil {
		return q.account(ctx, user)
	}
	return unknown(l.salt(user), "the user is not known"), nil
}

// unknown is an account that nobody can log in to.
func unknown(salt []byte, why string) account {
	nobody := mac(salt, "nobody knows the password")
	return account{
		stored: scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: iterations}, StoredKey: nobody, ServerKey: nobody}, why: why,
	}
}

// salt is a user's, where there is none that somebody else has made.
func (l *logins) salt(user string) []byte { return mac(l.key, user)[:16] }

// useLogins are those of now, until leave.
func (s *Server) useLogins() (*logins, error) {
	for {
		l := s.logins.Load()
		if l.use() {
			return l, nil
		}
		if s.logins.Load() == l {
			return nil, &problem{"57P01", "terminating connection: the pooler is shutting down"}
		}
	}
}

// use reports whether they are still there, and keeps them then.
func (l *logins) use() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.uses++
	}
	return !l.over
}

// leave undoes a use. The last one closes them.
func (l *logins) leave() {
	l.mu.Lock()
	l.uses--
	last := l.uses == 0
	l.over = l.over || last
	l.mu.Unlock()
	if !last {
		return
	}
	for _, u := range l.secrets {
		u.close()
	}
	for _, q := range l.queries {
		q.close()
	}
	for _, t := range l.tokens {
		t.flights.close()
	}
	for _, r := range l.roles {
		r.flights.close()
		r.client.CloseIdleConnections()
	}
}
