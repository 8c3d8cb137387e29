package pooler

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"
)

// The mechanisms of SASL that clients are offered.
const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
)

// factors are what a proof is made with, beside the password.
type factors struct {
	salt       string
	iterations int
}

func factorsOf(c scram.StoredCredentials) factors { return factors{c.Salt, c.Iters} }

// accept holds the proof against a verifier.
func (p proof) accept(stored scram.StoredCredentials) (answer string, ok bool) {
	return p.exchange.accept(stored, p.last)
}

// scramLogin has a client prove that it knows the account's password.
func (c *client) scramLogin(ctx context.Context, a account) (p proof, err error) {
	mechanisms := []string{mechanism}
	binding, bound := c.binding()
	if bound {
		mechanisms = []string{mechanismPlus, mechanism}
	}
	if err := c.send(&pgproto3.AuthenticationSASL{AuthMechanisms: mechanisms}); err != nil {
		return p, err
	}
	body, err := c.readMessage('p')
	if err != nil {
		return p, err
	}
	var initial pgproto3.SASLInitialResponse
	if err := initial.Decode(body); err != nil {
		return p, &problem{"08P01", "invalid SASL message: " + err.Error()}
	}
	e := exchange{nonce: rand.Text(), first: string(initial.Data)}
	switch {
	case initial.AuthMechanism == mechanismPlus && bound:
		e.converse = func(s *scram.Server) *scram.ServerConversation {
			return s.NewConversationWithChannelBindingRequired(binding)
		}
	case initial.AuthMechanism == mechanism && bound:
		e.converse = func(s *scram.Server) *scram.ServerConversation { return s.NewConversationWithChannelBinding(binding) }
	case initial.AuthMechanism == mechanism:
		e.converse = (*scram.Server).NewConversation
	default:
		return p, &problem{"08P01", "client selected an invalid SASL authentication mechanism"}
	}
	_, challenge, err := e.begin(a.stored)
	if err != nil {
		return p, &denied{"the client's first SCRAM message: " + err.Error()}
	}
	if err := c.send(&pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)}); err != nil {
		return p, err
	}
	if body, err = c.readMessage('p'); err != nil {
		return p, err
	}
	p = proof{exchange: &e, last: string(body), factors: factorsOf(a.stored)}
	final, err := a.check(ctx, p.accept)
	if err != nil {
		return p, err
	}
	return p, c.send(&pgproto3.AuthenticationSASLFinal{Data: []byte(final)})
}

// exchange is one of SCRAM's as seen from the server. What a client says in it can be held against several verifiers with the
// salt that it was told.
type exchange struct {
	nonce, first string
	converse     func(*scram.Server) *scram.ServerConversation
}

// begin answers the client's first message.
func (e *exchange) begin(stored scram.StoredCredentials) (conversation *scram.ServerConversation, challenge string, err error) {
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return nil, "", fmt.Errorf("SCRAM: %w", err)
	}
	conversation = e.converse(server.WithNonceGenerator(func() string { return e.nonce }))
	challenge, err = conversation.Step(e.first)
	return conversation, challenge, errors.Join(err)
}

// accept answers the client's last message, if it comes of the password that the verifier is of.
func (e *exchange) accept(stored scram.StoredCredentials, last string) (answer string, ok bool) {
	conversation, _, err := e.begin(stored)
	if err != nil {
		return "", false
	}
	answer, err = conversation.Step(last)
	return answer, err == nil && conversation.Valid()
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
