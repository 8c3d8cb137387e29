package rdstest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// iamRole is the role whose members log in with tokens.
const iamRole = "rds_iam"

// region is what the endpoints' names say.
const region = "eu-west-1"

// IAM says whether a token is good for a user of an instance, which goes by any of these host names.
// fakeaws.Server.VerifyToken is one.
type IAM func(token string, hosts []string, port uint16, region, user string) error

// iamRules go before the others: the front has authenticated these users.
const iamRules = "\nlocal all +" + iamRole + " trust\n"

// guard has the front of an instance check the tokens of those who have the role rds_iam; others are the server's affair.
func (c *Cluster) guard(in *Instance) front.Guard {
	if c.cfg.IAM == nil {
		return nil
	}
	return func(ctx context.Context, a front.Arrival) (func(context.Context, string) error, error) {
		member, err := in.hasIAM(ctx, a.User)
		if err != nil {
			return nil, &front.Refusal{Code: "57P03", Message: "the database system is not ready to look up who may use tokens"}
		}
		if !member {
			return nil, nil
		}
		if !a.Encrypted {
			return nil, &front.Refusal{Code: "28000", Message: fmt.Sprintf(
				`no pg_hba.conf entry for host "127.0.0.1", user "%s", database "%s", no encryption`, a.User, a.Database)}
		}
		return func(_ context.Context, token string) error {
			err := c.cfg.IAM(token, []string{in.host, c.host(), c.readerHost()}, in.addr.Port(), region, a.User)
			if err != nil {
				c.cfg.Logger.Debug("rdstest: a token was refused", "instance", in.id, "user", a.User, "err", err)
				return &front.Refusal{Code: "28000", Message: fmt.Sprintf(`PAM authentication failed for user "%s"`, a.User)}
			}
			return nil
		}, nil
	}
}

func (in *Instance) hasIAM(ctx context.Context, user string) (bool, error) {
	rows, err := in.server.admins.query(ctx, in.server, fmt.Sprintf(
		"select 1 from pg_catalog.pg_roles where rolname = %s and not rolsuper and pg_catalog.pg_has_role(oid, '%s', 'member')",
		quote(user), iamRole))
	return len(rows) > 0, err
}

// CreateUser makes a user that logs in with a password, or with tokens if password is "".
func (c *Cluster) CreateUser(ctx context.Context, user, password string) error {
	sql := fmt.Sprintf("create role %s login in role %s", pgx.Identifier{user}.Sanitize(), appRole)
	if password != "" {
		sql += " password " + quote(password)
	} else {
		sql += fmt.Sprintf("; grant %s to %s", iamRole, pgx.Identifier{user}.Sanitize())
	}
	return c.onWriter(ctx, "create user "+user, sql)
}

// SetPassword changes a user's password. The readers hear of it as they hear of everything else.
func (c *Cluster) SetPassword(ctx context.Context, user, password string) error {
	return c.onWriter(ctx, "set the password of "+user, fmt.Sprintf("alter role %s password %s", pgx.Identifier{user}.Sanitize(), quote(password)))
}

func (c *Cluster) onWriter(ctx context.Context, what, sql string) error {
	w := c.Writer()
	_, err := w.server.admins.query(ctx, w.server, sql)
	if err != nil {
		return fmt.Errorf("rdstest: %s: %w", what, errors.Join(context.Cause(ctx), err))
	}
	return nil
}

// quote makes a literal. Strings of the servers conform to the standard.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// UserDSN is [Cluster.DSN] for another user, without a password if that is "".
func (c *Cluster) UserDSN(user, password string) string {
	who := user
	if password != "" {
		who += ":" + password
	}
	return strings.Replace(c.DSN(), appRole+":"+c.password+"@", who+"@", 1)
}
