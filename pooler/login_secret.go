package pooler

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/xdg-go/scram"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
)

// secretUser is a user whose password is in a secret of AWS Secrets Manager. All its passwords are hashed with one salt, so that a
// client that knows a new one comes in though the secret is read again only then.
type secretUser struct {
	name    string
	salt    []byte
	secrets *awscreds.Secrets
	log     *slog.Logger
	hashed  atomic.Pointer[hashed] // the last one
}

// hashed is a password with its verifier.
type hashed struct {
	password credentials.Secret
	stored   scram.StoredCredentials
}

func newSecretUser(name string, cfg awscreds.SecretsConfig, salt []byte, log *slog.Logger) (*secretUser, error) {
	if cfg.Logger == nil {
		cfg.Logger = log
	}
	s, err := awscreds.NewSecrets(cfg)
	if err != nil {
		return nil, err
	}
	return &secretUser{name: name, salt: salt, secrets: s, log: log.With("user", name, "secret", cfg.SecretID)}, nil
}

func (u *secretUser) close() { _ = u.secrets.Close() } // it only ends what is under way

// account is the user's by the current version, which is read again when a password is refused.
func (u *secretUser) account(ctx context.Context) (account, error) {
	current, err := u.secrets.Current(ctx)
	if err != nil {
		return account{}, u.unchecked(err)
	}
	a := unknown(u.salt, "")
	if current.User == u.name {
		if a.stored, err = u.hash(current.Password); err != nil {
			return account{}, err
		}
	}
	a.anew = func(ctx context.Context) (list []scram.StoredCredentials, err error) {
		versions, err := u.secrets.Latest(ctx)
		if err != nil {
			return nil, u.unchecked(err)
		}
		for _, v := range versions {
			if v.User != u.name {
				u.log.Info("the secret is another user's", "version", v.Label, "its_user", v.User)
				continue
			}
			stored, err := u.hash(v.Password)
			if err != nil {
				return nil, err
			}
			list = append(list, stored)
		}
		return list, nil
	}
	return a, nil
}

func (u *secretUser) unchecked(err error) error {
	u.log.Warn("the user cannot log in at the moment: its secret cannot be read", "error", err)
	return &uncheckedError{fmt.Errorf("the secret of user %q: %w", u.name, err)}
}

func (u *secretUser) hash(password credentials.Secret) (scram.StoredCredentials, error) {
	if h := u.hashed.Load(); h != nil && h.password.Reveal() == password.Reveal() {
		return h.stored, nil
	}
	stored, err := derive(password.Reveal(), scram.KeyFactors{Salt: string(u.salt), Iters: iterations})
	if err == nil {
		u.hashed.Store(&hashed{password, stored})
	}
	return stored, err
}
