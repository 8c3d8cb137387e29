package driver

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// splitted is a DSN taken apart: our parameters, and the rest for pgx.
type splitted struct {
	rest    string            // the DSN with our parameters cut out, every other byte as it was
	own     map[string]string // our parameters; the last of several wins
	other   map[string]string // service and servicefile, if given
	keys    []string          // all keys
	secrets []string          // what must not be seen in an error

	rdsRoots bool // sslrootcert is rds, which pgx does not know
}

// splitDSN cuts our parameters out of a DSN, and rejects what is none.
func splitDSN(dsn string) (*splitted, error) {
	d := &splitted{own: make(map[string]string), other: make(map[string]string)}
	if strings.IndexByte(dsn, 0) >= 0 {
		return nil, errors.New("fairlead: DSN: it contains a NUL byte")
	}
	dsn = trimDSN(dsn)
	err := checkForm(dsn)
	if err != nil {
		return nil, err
	}
	if isURL(dsn) {
		err = d.splitURL(dsn)
	} else {
		err = d.splitPairs(dsn)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// add takes note of a parameter and says whether it is ours.
func (d *splitted) add(key, value string) bool {
	d.keys = append(d.keys, key)
	if !shown(key, value) {
		d.secret(value)
	}
	switch key {
	case "sslrootcert":
		if value == rdsRoots {
			d.rdsRoots = true
			return true
		}
	case "service", "servicefile":
		d.other[key] = value
	}
	if paramNamed(key) == nil {
		return false
	}
	d.own[key] = value
	return true
}

// shown reports whether an error may have a parameter's value in it: who is to be reached, and files. Any other may be a password in the wrong
// place.
func shown(key, value string) bool {
	switch key {
	case "host", "hostaddr", "port", "user", "dbname", "service", "application_name":
		return true
	case "sslrootcert", "sslcert", "sslkey", "passfile", "servicefile":
		return strings.Contains(value, "/")
	}
	return false
}

// secret takes note of a password. Very short ones are not looked for in texts: they are in any, and to mask them would
// tell them.
func (d *splitted) secret(s string) {
	if len(s) >= 4 {
		d.secrets = append(d.secrets, s)
	}
}

// splitURL reads postgres://user:password@host:port,host:port/dbname?key=value&key=value.
func (d *splitted) splitURL(dsn string) error {
	start := queryStart(dsn)
	if err := checkUserinfo(dsn, start); err != nil {
		return err
	}
	if user, _, ok := userinfo(dsn); ok {
		if _, password, ok := strings.Cut(user, ":"); ok {
			d.secret(password)
			if p, err := url.PathUnescape(password); err == nil {
				d.secret(p)
			}
		}
	}
	if start < 0 {
		d.rest = dsn
		return nil
	}
	var kept []string
	// An & at the end is allowed, as in libpq.
	query := strings.TrimSuffix(dsn[start+1:], "&")
	if query == "" {
		d.rest = dsn
		return nil
	}
	for i, pair := range strings.Split(query, "&") {
		rawKey, rawValue, ok := strings.Cut(pair, "=")
		if !ok || strings.Contains(rawValue, "=") {
			return fmt.Errorf("fairlead: DSN: parameter %d after the ? is not of the form key=value (write %%3D for a = in a value)", i+1)
		}
		key, err1 := decode(rawKey)
		value, err2 := decode(rawValue)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("fairlead: DSN: parameter %d after the ? is not percent-encoded as it should be", i+1)
		}
		if err := checkKeyword(key, fmt.Sprintf("parameter %d after the ?", i+1)); err != nil {
			return err
		}
		if !d.add(key, value) {
			kept = append(kept, pair)
		}
	}
	if len(kept) == strings.Count(query, "&")+1 {
		d.rest = dsn
		return nil
	}
	d.rest = dsn[:start]
	if len(kept) > 0 {
		d.rest += "?" + strings.Join(kept, "&") + dsn[start+1+len(query):]
	}
	return nil
}

// userinfo returns what is before the @, and where the rest begins. As in libpq only a / ends the search for the @.
func userinfo(dsn string) (user string, end int, ok bool) {
	begin := strings.Index(dsn, "://") + len("://")
	i := strings.IndexAny(dsn[begin:], "@/")
	if i < 0 || dsn[begin+i] != '@' {
		return "", begin, false
	}
	return dsn[begin : begin+i], begin + i + 1, true
}

// queryStart returns where the ? of the query is, or -1. A ? in the brackets of an IPv6 address is none.
func queryStart(dsn string) int {
	_, i, _ := userinfo(dsn)
	for i < len(dsn) {
		if dsn[i] == '[' {
			end := strings.IndexByte(dsn[i:], ']')
			if end < 0 {
				return -1
			}
			i += end + 1
		}
		next := strings.IndexAny(dsn[i:], "/?,")
		if next < 0 {
			return -1
		}
		i += next
		if dsn[i] != ',' {
			break
		}
		i++
	}
	if i >= len(dsn) {
		return -1
	}
	if query := strings.IndexByte(dsn[i:], '?'); query >= 0 {
		return i + query
	}
	return -1
}

// decode undoes percent-encoding by libpq's rules: spaces around it are skipped, a + is a +.
func decode(raw string) (string, error) {
	raw = strings.Trim(raw, " ")
	if strings.Contains(raw, " ") || strings.Contains(raw, "%00") {
		return "", errors.New("a character that must not be there")
	}
	return url.PathUnescape(raw)
}

const space = " \t\n\r\v\f"

// splitPairs reads key=value key = 'a value'. A backslash takes the special meaning from what follows it, in quotes and
// outside.
func (d *splitted) splitPairs(dsn string) error {
	var rest strings.Builder
	i := len(dsn) - len(strings.TrimLeft(dsn, space))
	rest.WriteString(dsn[:i])
	for n := 1; i < len(dsn); n++ {
		begin := i
		eq := strings.IndexByte(dsn[i:], '=')
		if eq < 0 {
			return fmt.Errorf("fairlead: DSN: parameter %d is not of the form key=value (a value with spaces must be in single quotes)", n)
		}
		key := strings.Trim(dsn[i:i+eq], space)
		if key == "" || strings.ContainsAny(key, space) {
			return fmt.Errorf("fairlead: DSN: parameter %d is not of the form key=value (a value with spaces must be in single quotes)", n)
		}
		if err := checkKeyword(key, fmt.Sprintf("parameter %d", n)); err != nil {
			return err
		}
		i = skipSpace(dsn, i+eq+1)
		value, end, ok := pairValue(dsn, i)
		if !ok {
			return fmt.Errorf("fairlead: DSN: parameter %d: the closing quote is missing", n)
		}
		i = skipSpace(dsn, end)
		if !d.add(key, value) {
			rest.WriteString(dsn[begin:i])
		}
	}
	d.rest = rest.String()
	return nil
}

func skipSpace(s string, i int) int {
	return len(s) - len(strings.TrimLeft(s[i:], space))
}

// pairValue reads the value that begins at i, and returns where it ends.
func pairValue(s string, i int) (value string, end int, ok bool) {
	quoted := i < len(s) && s[i] == '\''
	if quoted {
		i++
	}
	var b strings.Builder
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case quoted && s[i] == '\'':
			return b.String(), i + 1, true
		case !quoted && strings.IndexByte(space, s[i]) >= 0:
			return b.String(), i, true
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), min(i, len(s)), !quoted
}

// prepend puts parameters before those of a DSN, in its form. Before, because a DSN of keyword/value pairs may end in a
// backslash.
func prepend(dsn string, pairs [][2]string) string {
	if len(pairs) == 0 {
		return dsn
	}
	if !isURL(dsn) {
		return prependPairs(dsn, pairs)
	}
	var b strings.Builder
	for _, p := range pairs {
		b.WriteString(p[0] + "=" + strings.ReplaceAll(url.QueryEscape(p[1]), "+", "%20") + "&")
	}
	start := queryStart(dsn)
	if start < 0 {
		return dsn + "?" + strings.TrimSuffix(b.String(), "&")
	}
	return dsn[:start+1] + b.String() + dsn[start+1:]
}

func prependPairs(dsn string, pairs [][2]string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var b strings.Builder
	for _, p := range pairs {
		value := p[1]
		if value == "" || strings.ContainsAny(value, space+`'\`) {
			value = "'" + quote.Replace(value) + "'"
		}
		b.WriteString(p[0] + "=" + value + " ")
	}
	return b.String() + dsn
}
