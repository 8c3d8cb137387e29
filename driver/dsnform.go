package driver

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/fairlead-go/fairlead/internal/misspelt"
)

// scheme is what begins a URL, and what is taken for one.
var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):`)

// dsnInValue begins a value that is a DSN itself, as in DATABASE_URL=postgres://...
var dsnInValue = regexp.MustCompile(`(?i)^["']?(jdbc:)?(postgres|postgresql|pgx5?)(\+[a-z0-9_]+)?://`)

// keyword is what the name of a parameter may be.
var keyword = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)

// trimDSN takes away what files, variables and copies leave around a DSN. Neither form begins with a byte order mark, and no URL with a blank or ends in
// one; the last value of keyword/value pairs may, behind a backslash.
func trimDSN(dsn string) string {
	blank := func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' }
	if url := strings.TrimFunc(dsn, blank); isURL(url) {
		return url
	}
	return strings.TrimLeftFunc(dsn, func(r rune) bool { return r > unicode.MaxASCII && blank(r) })
}

// checkForm rejects what is in neither of the two forms of a DSN, and would be read as keyword/value pairs. No part of it but its scheme is in the
// error: anything may be the password.
func checkForm(dsn string) error {
	dsn = strings.TrimLeft(dsn, space)
	if isURL(dsn) || dsn == "" {
		return nil
	}
	if strings.ContainsAny(dsn[:1], "\"'`") || slices.ContainsFunc([]string{"“", "”", "‘", "’", "«"}, func(q string) bool { return strings.HasPrefix(dsn, q) }) {
		return errors.New("fairlead: DSN: it begins with a quotation mark: take the quotation marks away (files of variables, as docker run --env-file reads them, keep them as a part of the value)")
	}
	found := scheme.FindString(dsn)
	rest := dsn[len(found):]
	name := strings.ToLower(strings.TrimSuffix(found, ":"))
	base, dialect, _ := strings.Cut(name, "+")
	ours := base == "postgres" || base == "postgresql"
	switch {
	case found == "" && strings.HasPrefix(dsn, "//"):
		return errors.New("fairlead: DSN: it has no scheme: write postgres:// at its beginning")
	case found == "":
		return nil
	case name == "jdbc":
		return errors.New("fairlead: DSN: it is a URL for JDBC: take jdbc: away, so that it begins with postgresql://")
	case ours && dialect != "":
		return fmt.Errorf("fairlead: DSN: its scheme is %s, and +%s is the name of a driver of another language: write %s://", name, dialect, base)
	case ours && !strings.HasPrefix(rest, "//"):
		return fmt.Errorf("fairlead: DSN: its scheme is not followed by two slashes: write %s://", base)
	case ours:
		return fmt.Errorf("fairlead: DSN: its scheme has capital letters, which PostgreSQL's clients do not take for a URL: write %s://", base)
	case strings.HasPrefix(rest, "//"):
		return fmt.Errorf("fairlead: DSN: its scheme is %s: write postgres:// for a PostgreSQL server", name)
	}
	return errors.New("fairlead: DSN: it is neither a URL, which begins with postgres://, nor made of pairs keyword=value")
}

// checkKeyword rejects the name of a parameter that no server has. The name is in the error only if it is nearly one of ours: it may be a part of a
// password.
func checkKeyword(key, where string) error {
	if keyword.MatchString(key) {
		return nil
	}
	if name := misspelt.Nearest(key, namesOf(func(p *param) string { return p.name })); name != "" && keyword.MatchString(strings.ReplaceAll(key, "-", "")) {
		return fmt.Errorf("fairlead: unknown parameter %q: did you mean %s?", key, name)
	}
	return fmt.Errorf("fairlead: DSN: the keyword of %s has other characters than letters, digits, _ and .: check the quotation of the values before it, and that the DSN is a URL that begins with postgres:// or pairs keyword=value", where)
}

// pgxKeywords are those of pgx that are no run-time parameters, and what other languages call them.
var pgxKeywords = map[string]string{
	"host": "host", "port": "port", "database": "dbname", "dbname": "dbname", "user": "user", "password": "password", "sslmode": "sslmode",
	"username": "user", "userid": "user", "uid": "user", "login": "user", "pass": "password", "passwd": "password", "pwd": "password", "passphrase": "password",
	"server": "host", "hostname": "host", "hostaddr": "host", "addr": "host", "address": "host", "db": "dbname", "initialcatalog": "dbname", "sslrootcert": "sslrootcert", "sslcert": "sslcert",
	"sslkey": "sslkey", "connect_timeout": "connect_timeout", "timeout": "connect_timeout",
}

// longKeywords are those of pgx that nothing of a server's is nearly called like.
var longKeywords = []string{"password", "sslpassword", "sslmode", "sslrootcert", "connect_timeout", "database", "passfile", "service"}

// checkParts rejects what pgx has put into a part of the configuration where it cannot be meant: it would go to the resolver or to the server, with
// the password in it, if it is a misread DSN.
func (c *Config) checkParts() error {
	for _, host := range c.hosts() {
		switch {
		case strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@"): // a directory of sockets
		case dsnInValue.MatchString(host):
			return errors.New("fairlead: DSN: the host is a URL: give the URL alone as the DSN, or the name of the host alone")
		case strings.Contains(host, "@"):
			return errors.New("fairlead: DSN: the host has an @ in it: write %40 for each @ in the user's name and the password of a URL")
		case strings.ContainsFunc(host, func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`/?#;=\"'`+"`", r)
		}):
			return errors.New("fairlead: DSN: the host has a character that no host's name has: check the quotation of the values, and that special characters of the user's name and the password are percent-encoded in a URL")
		}
	}
	if db := c.Conn.Database; strings.HasPrefix(db, "/") && strings.Contains(db, "@") {
		return errors.New("fairlead: DSN: the name of the database begins with a slash and has an @ in it: the scheme is there twice, or there are too many slashes before the host")
	}
	for part, value := range map[string]string{"database": c.Conn.Database, "user": c.Conn.User} {
		if dsnInValue.MatchString(value) {
			return fmt.Errorf("fairlead: DSN: the %s is a URL: give the URL alone as the DSN", part)
		}
	}
	for key, value := range c.Conn.RuntimeParams {
		if err := checkKeyword(key, "a parameter"); err != nil {
			return err
		}
		if strings.Contains(key, ".") {
			continue // a setting of an extension of the server's
		}
		meant := pgxKeywords[strings.ToLower(key)]
		if meant == "" {
			meant = misspelt.Nearest(key, longKeywords)
		}
		if meant != "" {
			return fmt.Errorf("fairlead: unknown parameter %q: did you mean %s? Pairs are separated by blanks, and keywords are in small letters", key, meant)
		}
		if dsnInValue.MatchString(value) && key != "application_name" {
			return fmt.Errorf("fairlead: DSN: the value of a parameter is a URL: give what is behind the = alone, without the name of a variable before it")
		}
	}
	return nil
}

// checkUserinfo rejects a URL whose password has a / or an @ in it as it stands: what is behind it would be taken for the host, the port and the
// database, and shown as such. start is where its ? is, or -1.
func checkUserinfo(dsn string, start int) error {
	if start < 0 {
		start = len(dsn)
	}
	_, from, _ := userinfo(dsn)
	if rest := dsn[from:start]; strings.Contains(rest, "@") && !strings.Contains(rest, "://") {
		return errors.New("fairlead: DSN: there is an @ where the host, the port or the database is: write %2F for each / and %40 for each @ in the user's name and the password of a URL")
	}
	return nil
}
