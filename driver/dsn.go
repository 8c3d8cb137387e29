package driver

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgservicefile"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fairlead-go/fairlead/internal/misspelt"
)

// ParseConfig reads a DSN in one of libpq's two forms, a URL or keyword/value pairs; it may be empty. Blanks around it are no part of it. Parameters of ours
// are taken out of it, everything else is read by pgx, from the environment, the service and the password file too.
// What neither knows goes to the server as a run-time parameter, unless it looks like a misspelt parameter of ours.
//
// Our parameters can also be set in the service file, or in the environment as FAIRLEAD_ and the name in upper case, and
// target_session_attrs as PGTARGETSESSIONATTRS. The DSN comes first, then the service file, then the environment.
//
// The error never contains a password that the DSN gives in its place.
func ParseConfig(dsn string) (*Config, error) {
	d, err := splitDSN(dsn)
	if err != nil {
		return nil, err
	}
	c := &Config{parsed: true, rest: d.rest, ambient: make(map[string]bool), rdsRoots: d.rdsRoots}
	if c.disabled, err = disabledByEnv(); err != nil {
		return nil, err
	}
	service := d.service()
	trust := d.trust(service)
	// pgx is told "any" in the only place that nothing can override: it must not ask the server itself, whatever the
	// environment or a service file says.
	c.Pool, err = pgxpool.ParseConfig(prepend(d.rest, append(trust.forPgx, [2]string{"target_session_attrs", string(AttrsAny)})))
	if err != nil {
		d.ambient(service)
		return nil, withoutDSN(err, d)
	}
	c.Conn = c.Pool.ConnConfig
	c.pgxWays, c.clientCert = c.waysOf(), trust.client
	for key := range poolInstead {
		if _, ok := service[key]; ok || slices.Contains(d.keys, key) {
			c.poolKeys = append(c.poolKeys, key)
		}
	}
	slices.Sort(c.poolKeys)
	c.pgxKeys = slices.Clone(c.poolKeys)
	for _, key := range []string{"default_query_exec_mode", "description_cache_capacity", "statement_cache_capacity"} {
		if _, ok := service[key]; ok || slices.Contains(d.keys, key) {
			c.pgxKeys = append(c.pgxKeys, key)
		}
	}
	given := make(map[string]bool)
	for _, p := range params {
		delete(c.Conn.RuntimeParams, p.name) // a service file's
		if given[p.name], err = p.take(c, d.own, service); err != nil {
			return nil, err
		}
	}
	if given["target_session_attrs"] && !given["reader_fallback"] {
		c.ReaderFallback = Off // whoever says which instances are wanted gets no other
	}
	if err := c.checkParts(); err != nil {
		return nil, err
	}
	names := namesOf(func(p *param) string { return p.name })
	for key := range c.Conn.RuntimeParams {
		if strings.Contains(key, ".") {
			continue // a setting of an extension of the server's
		}
		if name := misspelt.Nearest(key, names); name != "" {
			return nil, fmt.Errorf("fairlead: unknown parameter %q: did you mean %s?", key, name)
		}
	}
	c.secure(trust)
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// take sets the parameter from the first source that has it, else to its default, and reports whether one has.
func (p *param) take(c *Config, own, service map[string]string) (given bool, err error) {
	value, source := p.def(c), ""
	fromEnv := func(name string) {
		if v := os.Getenv(name); v != "" {
			value, source, given = v, name, true
			c.ambient[p.name] = true
		}
	}
	if p.name == "target_session_attrs" {
		fromEnv("PGTARGETSESSIONATTRS")
	}
	fromEnv(p.env())
	if v, ok := service[p.name]; ok {
		value, source, given = v, "the service file", true
		c.ambient[p.name] = true
	}
	if v, ok := own[p.name]; ok {
		value, source, given = v, "", true
	}
	if !given && value == "" {
		return false, nil
	}
	if err := p.set(c, value); err != nil {
		return given, p.refuse(source, err)
	}
	return given, nil
}

// FormatDSN returns a DSN from which ParseConfig makes this Config again: what was not ours in the one it came from, as it
// stood there, and the parameters of ours that are not what they would be without being given. What was changed in Conn
// and Pool, and the hooks, are not in it. It contains the password: it is not for logs, String is.
func (c *Config) FormatDSN() string {
	var own [][2]string
	attrs := false
	for _, p := range params {
		def := p.def(c)
		if p.name == "reader_fallback" && attrs {
			def = string(Off) // as in ParseConfig
		}
		if v := p.get(c); v != "" && (v != def || c.ambient[p.name]) {
			own = append(own, [2]string{p.name, v})
			attrs = attrs || p.name == "target_session_attrs"
		}
	}
	if c.rdsRoots {
		own = append(own, [2]string{"sslrootcert", rdsRoots})
	}
	return prepend(c.rest, own)
}

// String describes the Config for logs and errors, without the password.
func (c *Config) String() string {
	if c == nil || c.Conn == nil {
		return "fairlead.Config{}"
	}
	pairs := [][2]string{
		{"host", strings.Join(c.hosts(), ",")},
		{"port", fmt.Sprint(c.Conn.Port)},
		{"user", c.Conn.User},
		{"dbname", c.Conn.Database},
	}
	if c.Conn.Password != "" {
		pairs = append(pairs, [2]string{"password", "xxxxx"})
	}
	for _, p := range params {
		if v := p.get(c); v != "" && v != p.def(c) {
			pairs = append(pairs, [2]string{p.name, v})
		}
	}
	return strings.TrimSuffix(prependPairs("", pairs), " ")
}

// GoString is String, so that %#v does not print the password either.
func (c *Config) GoString() string { return c.String() }

// LogValue implements slog.LogValuer; without it a JSON handler would print the password.
func (c *Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// ambient takes note of what the environment and the service file give in the place of the DSN.
func (d *splitted) ambient(service map[string]string) {
	for key, value := range service {
		if !shown(key, value) {
			d.secret(value)
		}
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if key, ok := strings.CutPrefix(name, "PG"); ok && !shown(map[string]string{"HOST": "host", "PORT": "port", "USER": "user", "DATABASE": "dbname"}[key], value) {
			d.secret(value)
		}
	}
}

// withoutDSN takes the DSN out of an error of pgx, which hides passwords in it by guessing where they are.
func withoutDSN(err error, d *splitted) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		parse.ConnString = ""
	}
	text := strings.TrimPrefix(err.Error(), "cannot parse ``: ")
	if strings.HasPrefix(text, "failed to parse as") {
		// What the parser quotes may be a piece of the password.
		return &dsnError{text: "fairlead: DSN: it cannot be parsed: check the host and the port, and that special characters of the user's name and the password are percent-encoded in a URL (%40 for @, %2F for /), and quoted in keyword/value pairs"}
	}
	for _, secret := range d.secrets {
		if strings.Contains(text, secret) {
			text, err = strings.ReplaceAll(text, secret, "xxxxx"), nil
		}
	}
	return &dsnError{text: "fairlead: DSN: " + text, err: err}
}

// dsnError is an error of pgx without the DSN; err is nil if it has a password in it.
type dsnError struct {
	text string
	err  error
}

func (e *dsnError) Error() string { return e.text }

// Unwrap returns pgx's error.
func (e *dsnError) Unwrap() error { return e.err }

// service returns the settings of the service that the DSN or the environment names. What is wrong with it is pgx's to
// say.
func (d *splitted) service() map[string]string {
	name, ok := d.other["service"]
	if !ok {
		name = os.Getenv("PGSERVICE")
	}
	if name == "" {
		return nil
	}
	path, ok := d.other["servicefile"]
	if !ok {
		path = os.Getenv("PGSERVICEFILE")
	}
	if home, err := os.UserHomeDir(); path == "" && !ok && err == nil {
		path = filepath.Join(home, ".pg_service.conf")
	}
	file, err := pgservicefile.ReadServicefile(path)
	if err != nil {
		return nil
	}
	s, err := file.GetService(name)
	if err != nil {
		return nil
	}
	return s.Settings
}
