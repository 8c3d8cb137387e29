package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/rdsname"
)

// provider is what logins ask for a credential; nil: they have the password that pgx found.
func (c *Config) provider() (credentials.Provider, error) {
	cfg := awscreds.Config{AWS: c.AWS, Region: c.AWSRegion, Profile: c.AWSProfile, Logger: c.Logger}
	switch {
	case c.Credentials != nil:
		// The interface alone: closing is its maker's affair.
		return struct{ credentials.Provider }{c.Credentials}, nil
	case c.Auth == AuthIAM:
		if c.IAMHost != "" && c.InstanceHostPattern == "" && c.Logger != nil {
			c.Logger.Warn("fairlead: with iam_host and without instance_host_pattern only the DSN's own hosts are dialled, in a failover too",
				"cluster", c.clusterName(), "iam_host", c.IAMHost)
		}
		return credentials.Paced(awscreds.NewIAM(awscreds.IAMConfig{Config: cfg, SignFor: c.signFor()}), c.IAMLoginRate), nil
	case c.Auth == AuthIAMSTS:
		sts, err := awscreds.NewSTS(awscreds.STSConfig{Config: cfg, Audience: c.IAMAudience})
		if err != nil {
			return nil, fmt.Errorf("fairlead: auth=iam_sts: %w", err)
		}
		return credentials.Paced(sts, c.IAMLoginRate), nil
	case c.Auth == AuthSecret:
		secrets, err := awscreds.NewSecrets(awscreds.SecretsConfig{Config: cfg, SecretID: c.SecretID, HostRegion: rdsname.Region(c.Conn.Host)})
		if err != nil {
			return nil, fmt.Errorf("fairlead: auth=secret: %w", err)
		}
		return secrets, nil
	}
	return nil, nil
}

// signFor puts iam_host in the place of the DSN's own hosts. Instances that were discovered have names of their own.
func (c *Config) signFor() func(credentials.Target) credentials.Target {
	if c.IAMHost == "" {
		return nil
	}
	hosts := c.hosts()
	host, port := splitHost(c.IAMHost)
	return func(t credentials.Target) credentials.Target {
		if slices.Contains(hosts, t.Host) {
			t.Host = host
			if port != 0 {
				t.Port = port
			}
		}
		return t
	}
}

// checkAuth finds parameters of credentials that do not go together.
func (c *Config) checkAuth() error {
	switch {
	case c.Auth == AuthSecret && c.SecretID == "":
		return errors.New("fairlead: auth=secret without secret_id: set it to the secret's name or ARN")
	case c.Auth != AuthSecret && c.SecretID != "" && !c.ambient["secret_id"]:
		return fmt.Errorf("fairlead: secret_id with auth=%s: set auth=secret, or leave secret_id out", c.Auth)
	case c.Auth != AuthIAM && c.IAMHost != "" && !c.ambient["iam_host"]:
		return fmt.Errorf("fairlead: iam_host with auth=%s: set auth=iam, or leave iam_host out", c.Auth)
	case c.Auth == AuthIAMSTS && c.IAMAudience == "":
		return errors.New("fairlead: auth=iam_sts without iam_audience: set it to the one of the pooler's cluster")
	case c.Auth != AuthIAMSTS && c.IAMAudience != "" && !c.ambient["iam_audience"]:
		return fmt.Errorf("fairlead: iam_audience with auth=%s: set auth=iam_sts, or leave iam_audience out", c.Auth)
	case c.Credentials != nil && c.Auth != AuthPassword:
		return fmt.Errorf("fairlead: the Config has Credentials and auth=%s: leave one of them out", c.Auth)
	case c.Auth.bearer() && !c.verified():
		return fmt.Errorf("fairlead: auth=%s with a server that is not verified: a token is sent over TLS only, and only to a server whose certificate is verified; set sslmode=verify-full, and sslrootcert to who signs it (rds for RDS)", c.Auth)
	}
	return nil
}

// verified reports whether a way to the database is to a server that proves which one it is.
func (c *Config) verified() bool {
	return backend.Verifies(c.Conn.TLSConfig) || slices.ContainsFunc(c.Conn.Fallbacks, func(f *pgxFallback) bool { return backend.Verifies(f.TLSConfig) })
}

// bearer reports whether who reads what is logged in with can use it.
func (a Auth) bearer() bool { return a == AuthIAM || a == AuthIAMSTS }

// beforeConnect gives plain pgx what it logs in with; nil where it finds that itself.
func (c *Config) beforeConnect() (func(context.Context, *pgx.ConnConfig) error, error) {
	p, err := c.provider()
	if err != nil || p == nil {
		return nil, err
	}
	return func(ctx context.Context, conn *pgx.ConnConfig) error {
		got, err := p.Credential(ctx, credentials.Target{Host: conn.Host, Port: conn.Port, User: conn.User}, nil)
		if err != nil {
			return fmt.Errorf("fairlead: log in to %s: %w", conn.Host, err)
		}
		if got.User != "" {
			conn.User = got.User
		}
		conn.Password = got.Password.Reveal()
		if err := backend.Guard(&conn.Config, got.Bearer); err != nil {
			return fmt.Errorf("fairlead: log in to %s: %w", conn.Host, err)
		}
		return nil
	}, nil
}

// checkRegion refuses what cannot be a region's name.
func checkRegion(value string) error {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || !strings.Contains(value, "-") {
		return errors.New("not the name of a region")
	}
	return nil
}

// checkHost refuses what is neither host nor host:port.
func checkHost(value string) error {
	host, port := splitHost(value)
	if host == "" || strings.ContainsAny(host, " /?@:") || strings.Contains(value, ":") && port == 0 {
		return errors.New("not a host")
	}
	return nil
}

// splitHost reads host or host:port; the port is 0 if there is none.
func splitHost(value string) (host string, port uint16) {
	h, p, err := net.SplitHostPort(value)
	if err != nil {
		return value, 0
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return h, 0
	}
	return h, uint16(n)
}
