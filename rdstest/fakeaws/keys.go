package fakeaws

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// amzTime is the form of times in signatures.
const amzTime = "20060102T150405Z"

// clockTolerance is how far a request's time may be from the server's.
const clockTolerance = 5 * time.Minute

// tokenLife is how long a token of IAM is good for.
const tokenLife = 15 * time.Minute

// Key is an access key.
type Key struct {
	ID, Secret, SessionToken string
	Expires                  time.Time // zero: never
	// Role is whose session it is, as GetCallerIdentity tells.
	Role string
}

// DefaultRole is that of a container's keys, and of those that NewKey makes.
const DefaultRole = "app"

func (k Key) aws() aws.Credentials {
	return aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret, SessionToken: k.SessionToken}
}

// NewKey makes a key of a session, which ends after a time, or 0 for one that does not end.
func (s *Server) NewKey(life time.Duration) Key {
	return s.NewRoleKey(DefaultRole, life)
}

// NewRoleKey is NewKey for a session of another role.
func (s *Server) NewRoleKey(role string, life time.Duration) Key {
	k := Key{ID: "ASIA" + strings.ToUpper(random(8)), Secret: random(20), SessionToken: random(32), Role: role}
	if life > 0 {
		k.Expires = time.Now().Add(life)
	}
	s.locked(func() { s.keys[k.ID] = k })
	return k
}

// RotateKey gives the container another key, and revokes the one that it had.
func (s *Server) RotateKey(life time.Duration) {
	next := s.NewKey(life)
	s.locked(func() {
		delete(s.keys, s.current.ID)
		s.current = next
	})
}

// VerifyToken does what RDS does with the password of a user that has the role rds_iam: it signs again what the token says,
// and compares. The token has to be for one of the hosts. It is an rdstest.IAM.
func (s *Server) VerifyToken(token string, hosts []string, port uint16, region, user string) error {
	u, err := url.Parse("https://" + token)
	if err != nil {
		return errors.New("fakeaws: the token is no URL")
	}
	if !slices.Contains(hosts, strings.ToLower(u.Hostname())) || u.Port() != strconv.Itoa(int(port)) {
		return fmt.Errorf("fakeaws: the token is for %s, and this is %v, port %d", u.Host, hosts, port)
	}
	q := u.Query()
	if q.Get("Action") != "connect" || q.Get("DBUser") != user {
		return fmt.Errorf("fakeaws: the token is for user %q, and this is %q", q.Get("DBUser"), user)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := time.Parse(amzTime, q.Get("X-Amz-Date"))
	age := s.now().Sub(at)
	if err != nil || age >= tokenLife || age < -clockTolerance || q.Get("X-Amz-Expires") != "900" {
		return fmt.Errorf("fakeaws: the token is %v old", age)
	}
	key, signed, err := s.keyOf(q.Get("X-Amz-Credential"), at, "rds-db")
	if err != nil {
		return err
	}
	if signed != region {
		return fmt.Errorf("fakeaws: the token is for region %s, and this is %s", signed, region)
	}
	if q.Get("X-Amz-Security-Token") != key.SessionToken {
		return errors.New("fakeaws: the session token is not the key's")
	}
	want := q.Get("X-Amz-Signature")
	again := url.Values{"Action": q["Action"], "DBUser": q["DBUser"], "X-Amz-Expires": q["X-Amz-Expires"]}
	req, err := http.NewRequest(http.MethodGet, "https://"+u.Host+u.Path+"?"+again.Encode(), nil)
	if err != nil {
		return errors.New("fakeaws: the token is no URL")
	}
	uri, _, err := v4.NewSigner().PresignHTTP(req.Context(), key.aws(), req, hashOf(nil), "rds-db", region, at)
	if err != nil {
		return fmt.Errorf("fakeaws: sign again: %w", err)
	}
	got, err := url.Parse(uri)
	if err != nil || got.Query().Get("X-Amz-Signature") != want {
		return errors.New("fakeaws: the signature is not the key's")
	}
	s.tokens[strings.ToLower(u.Hostname())]++
	return nil
}

// Tokens is how many tokens for a host were checked and found good.
func (s *Server) Tokens(host string) (n int) {
	s.locked(func() { n = s.tokens[host] })
	return n
}

// keyOf reads a credential scope, <key>/<date>/<region>/<service>/aws4_request; the lock is held.
func (s *Server) keyOf(scope string, at time.Time, service string) (k Key, region string, err error) {
	parts := strings.Split(scope, "/")
	if len(parts) != 5 || parts[1] != at.Format("20060102") || parts[3] != service || parts[4] != "aws4_request" {
		return k, "", fmt.Errorf("fakeaws: credential scope %q: not one for %s", scope, service)
	}
	k, ok := s.keys[parts[0]]
	switch {
	case !ok:
		return k, "", errUnknownKey
	case !k.Expires.IsZero() && !s.now().Before(k.Expires):
		return k, "", errExpiredKey
	}
	return k, parts[2], nil
}

var (
	errUnknownKey = errors.New("the security token included in the request is invalid")
	errExpiredKey = errors.New("the security token included in the request is expired")
)
