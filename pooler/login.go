package pooler

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// The mechanisms of SASL that clients are offered.
const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
)

// iterations is how often a password is hashed, PostgreSQL's own number.
const iterations = 4096

// errLogin is all that a client learns of a login that failed.
var errLogin = errors.New("password authentication failed")

// credentials makes of a password, or of what PostgreSQL keeps of one, what SCRAM needs.
func credentials(password string) (c scram.StoredCredentials, err error) {
	if !strings.HasPrefix(password, mechanism+"$") {
		salt := make([]byte, 16)
		_, _ = rand.Read(salt) // never fails
		return derive(password, salt)
	}
	malformed := errors.New("its SCRAM verifier is malformed: SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key> is expected")
	parts := strings.Split(strings.TrimPrefix(password, mechanism+"$"), "$")
	if len(parts) != 2 {
		return c, malformed
	}
	n, salt, ok := strings.Cut(parts[0], ":")
	stored, server, ok2 := strings.Cut(parts[1], ":")
	if !ok || !ok2 {
		return c, malformed
	}
	if c.Iters, err = strconv.Atoi(n); err != nil || c.Iters < 1 {
		return c, malformed
	}
	decode := func(s string) string {
		b, bad := base64.StdEncoding.DecodeString(s)
		if bad != nil || len(b) == 0 {
			err = malformed
		}
		return string(b)
	}
	c.Salt, c.StoredKey, c.ServerKey = decode(salt), []byte(decode(stored)), []byte(decode(server))
	return c, err
}

// derive hashes a password.
func derive(password string, salt []byte) (c scram.StoredCredentials, err error) {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		password = prepared // others are used as they are, as PostgreSQL does
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return c, fmt.Errorf("hash the password: %w", err)
	}
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write([]byte(s)) // never fails
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	c.KeyFactors = scram.KeyFactors{Salt: string(salt), Iters: iterations}
	c.StoredKey, c.ServerKey = stored[:], mac(salted, "Server Key")
	return c, nil
}

// accounts are those of a Config's users. Somebody who is not known is checked against what nobody knows the password of, and
// takes as long.
type accounts struct {
	byName map[string]scram.StoredCredentials
	secret []byte // of which the salts of unknown users are made
}

func newAccounts(users map[string]User) (*accounts, error) {
	a := &accounts{byName: make(map[string]scram.StoredCredentials, len(users)), secret: make([]byte, 32)}
	_, _ = rand.Read(a.secret) // never fails
	for name, u := range users {
		c, err := credentials(u.Password)
		if err != nil {
			return nil, fmt.Errorf("pooler: user %q: %w", name, err)
		}
		a.byName[name] = c
	}
	return a, nil
}

// of is the account of a user; one that nobody can log in to, and that is the same each time, when there is none.
func (a *accounts) of(user string) (c scram.StoredCredentials, known bool) {
	if c, known = a.byName[user]; known {
		return c, true
	}
	h := hmac.New(sha256.New, a.secret)
	_, _ = h.Write([]byte(user)) // never fails
	sum := h.Sum(nil)
	c.KeyFactors = scram.KeyFactors{Salt: string(sum[:16]), Iters: iterations}
	c.StoredKey, c.ServerKey = sum, sum
	return c, false
}

// authenticate has a client prove that it knows the user's password.
func (c *client) authenticate(user string) error {
	stored, known := c.server.accounts.Load().of(user)
	mechanisms := []string{mechanism}
	binding, bound := c.binding()
	if bound {
		mechanisms = []string{mechanismPlus, mechanism}
	}
	if err := c.send(&pgproto3.AuthenticationSASL{AuthMechanisms: mechanisms}); err != nil {
		return err
	}
	body, err := c.readMessage('p')
	if err != nil {
		return err
	}
	var initial pgproto3.SASLInitialResponse
	if err := initial.Decode(body); err != nil {
		return fmt.Errorf("SASLInitialResponse: %w", err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return fmt.Errorf("SCRAM: %w", err)
	}
	var conversation *scram.ServerConversation
	switch {
	case initial.AuthMechanism == mechanismPlus && bound:
		conversation = server.NewConversationWithChannelBindingRequired(binding)
	case initial.AuthMechanism == mechanism && bound:
		conversation = server.NewConversationWithChannelBinding(binding)
	case initial.AuthMechanism == mechanism:
		conversation = server.NewConversation()
	default:
		return fmt.Errorf("the mechanism %q was not offered", initial.AuthMechanism)
	}
	challenge, err := conversation.Step(string(initial.Data))
	if err != nil {
		return errLogin
	}
	if err := c.send(&pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}); err != nil {
		return err
	}
	if body, err = c.readMessage('p'); err != nil {
		return err
	}
	final, err := conversation.Step(string(body))
	if err != nil || !conversation.Valid() || !known {
		return errLogin
	}
	return c.send(&pgproto3.AuthenticationSASLFinal{Data: []byte(final)})
}

// binding is what ties a login to the TLS connection that it goes over: the server's certificate.
func (c *client) binding() (b scram.ChannelBinding, ok bool) {
	if c.tls == nil || len(c.certificate) == 0 {
		return b, false
	}
	cert, err := x509.ParseCertificate(c.certificate)
	if err != nil {
		return b, false
	}
	var sum []byte
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h := sha512.Sum384(cert.Raw)
		sum = h[:]
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h := sha512.Sum512(cert.Raw)
		sum = h[:]
	default:
		h := sha256.Sum256(cert.Raw)
		sum = h[:]
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: sum}, true
}

// withCertificate is the listener's TLS configuration, and notes which certificate a connection is given.
func withCertificate(cfg *tls.Config, note func(der []byte)) *tls.Config {
	cfg = cfg.Clone()
	choose := cfg.GetCertificate
	list := cfg.Certificates
	cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if choose != nil {
			cert, err := choose(hello)
			if err != nil || cert != nil {
				if cert != nil {
					note(cert.Certificate[0])
				}
				return cert, err
			}
		}
		for i := range list {
			if hello.SupportsCertificate(&list[i]) == nil {
				note(list[i].Certificate[0])
				return &list[i], nil
			}
		}
		if len(list) == 0 {
			return nil, errors.New("pooler: no certificate")
		}
		note(list[0].Certificate[0])
		return &list[0], nil
	}
	cfg.Certificates = nil
	return cfg
}
