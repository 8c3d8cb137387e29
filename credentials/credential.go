package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Provider knows what to log in with. It is safe for concurrent use.
type Provider interface {
	// Credential returns what to log in to t with. refused lists what this login has tried before and the server has
	// refused, in order; it is nil at first. The answer is one that is not among them; when there is none left the error is,
	// or wraps, [ErrExhausted]. An error that may pass by itself is, or wraps, an [*UnavailableError]. Neither the answer nor
	// refused is changed by anyone.
	Credential(ctx context.Context, t Target, refused []Refusal) (*Credential, error)
}

// Target is what is logged in to.
type Target struct {
	Host string // as it is dialled: the endpoint of an instance or of a cluster, not an IP address unless the DSN has one
	Port uint16
	User string // the DSN's
}

// String names the target, for errors.
func (t Target) String() string { return fmt.Sprintf("%s@%s:%d", t.User, t.Host, t.Port) }

// Credential is a user with a password.
type Credential struct {
	User     string // "": the target's
	Password Secret
	// Bearer says that whoever reads the password can use it: it is not sent without TLS, whatever sslmode says.
	Bearer bool
	// Label says where it is from, for errors and logs, such as "AWSPENDING". It is no secret.
	Label string
}

// Same reports whether two credentials are one to a server.
func (c *Credential) Same(o *Credential) bool {
	return c == o || c != nil && o != nil && c.User == o.User && c.Password.Reveal() == o.Password.Reveal()
}

// Refusal is a credential that a server has refused.
type Refusal struct {
	Credential *Credential
	Err        error // the server's
}

// Refused reports whether c, or one that is the same to a server, is in the list.
func Refused(list []Refusal, c *Credential) bool {
	for _, r := range list {
		if r.Credential.Same(c) {
			return true
		}
	}
	return false
}

// ErrExhausted says that a provider has no other credential than those that were refused.
var ErrExhausted = errors.New("credentials: there is no other credential to try")

// UnavailableError says that a credential cannot be had now and may be later: whoever is asked for it is out of reach, or
// overloaded.
type UnavailableError struct{ Err error }

// Error returns the text of the underlying error.
func (e *UnavailableError) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Secret is a password or a token. No way of formatting shows it, only Reveal does. The zero value is empty. Secrets are
// not compared with ==.
type Secret struct {
	// A pointer, because package fmt prints the inside of what it finds behind two pointers without asking for methods.
	hidden *string
}

// NewSecret hides a text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.hidden == nil {
		return ""
	}
	return *s.hidden
}

// mask stands for a secret wherever one is formatted.
const mask = "xxxxx"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// String implements fmt.Stringer.
func (Secret) String() string { return mask }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return mask }

// MarshalText implements encoding.TextMarshaler: JSON, XML and YAML have the mask.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// wallNow is the time without the monotonic clock: what ends at a time of day ends then also for a process that was
// frozen in between.
func wallNow() time.Time { return time.Now().Round(0) }
