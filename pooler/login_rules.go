package pooler

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// rules are what a client logs in by. A reload makes new ones, for those too who are about to come in.
type rules struct {
	generation uint64
	cfg        *Config
	listener   *Listener
}

// proof is what a client has given to prove who it is. With certificates, and trust, it is empty.
type proof struct {
	exchange *exchange // of SCRAM, which the client has ended with last
	last     string
	factors  factors
	password string // in the clear; it may be a token
}

// renew looks at what the endpoint's settings are by now. The TLS that is spoken already stays.
func (c *client) renew() { c.listener = c.endpoint.settings.Load() }

// rules are those of now, if they let the client go on as it has come so far.
func (c *client) rules() (r rules, err error) {
	r.generation, r.cfg = c.server.generation.Load(), c.server.cfg.Load()
	c.renew()
	r.listener = c.listener
	switch {
	case c.endpoint.gone.Load():
		return r, &problem{"57P03", "fairlead: this address is not served any more"}
	case r.cfg.Clusters[r.listener.Cluster] == nil:
		return r, noCluster(r.listener.Cluster)
	case c.crowded:
		return r, &problem{"53300", fmt.Sprintf("fairlead: %d clients are connected, and no more are allowed (max_client_conn)", r.cfg.MaxClients)}
	case r.listener.Encryption == EncryptionRequired && c.tls == nil:
		return r, &problem{"28000", "fairlead: this address takes encrypted connections only: use sslmode=require"}
	case r.listener.TLS != nil && r.listener.TLS.ClientAuth == tls.RequireAndVerifyClientCert && len(c.chains()) == 0:
		return r, &denied{"the client has shown no certificate of an authority that is trusted now"}
	}
	return r, nil
}

// chains are those that lead from the client's certificate to an authority that its listener trusts, which may be another one than at the
// handshake.
func (c *client) chains() [][]*x509.Certificate {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	if c.handshake == c.listener {
		return state.VerifiedChains
	}
	if len(state.PeerCertificates) == 0 || c.listener.TLS == nil || c.listener.TLS.ClientCAs == nil {
		return nil
	}
	opts := x509.VerifyOptions{Roots: c.listener.TLS.ClientCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	chains, err := state.PeerCertificates[0].Verify(opts)
	if err != nil {
		return nil
	}
	return chains
}

// prove has the client prove who it is, in its listener's way. What it has given is held against new rules when they change meanwhile.
func (c *client) prove(ctx context.Context, user string) error {
	r, err := c.rules()
	if err != nil {
		return err
	}
	p, err := c.authenticate(ctx, user, r)
	if err != nil {
		return err
	}
	for {
		now, err := c.rules()
		if err != nil || now.generation == r.generation {
			return err
		}
		r = now
		if err := c.proveAgain(ctx, user, r, p); err != nil {
			return err
		}
	}
}

// errChanged is for clients whose proof is of no use for new rules.
var errChanged = &problem{"57P03", "fairlead: the way to log in has changed meanwhile: connect again"}

// authenticate asks the client for its proof, and checks it.
func (c *client) authenticate(ctx context.Context, user string, r rules) (p proof, err error) {
	switch r.listener.Login {
	case LoginTrust:
		return p, c.trusted(user, r.cfg)
	case LoginCert:
		return p, c.certified(user, r.cfg)
	}
	all, err := c.useLogins()
	if err != nil {
		return p, err
	}
	defer all.leave()
	plain, err := c.inTheClear(r.listener)
	switch {
	case err != nil:
		return p, err
	case plain:
		return c.plainLogin(ctx, user, all)
	}
	a, err := all.account(ctx, r.listener.Cluster, user)
	if err != nil {
		return p, err
	}
	return c.scramLogin(ctx, a)
}

// proveAgain checks a proof by other rules than those by which it was given.
func (c *client) proveAgain(ctx context.Context, user string, r rules, p proof) error {
	switch r.listener.Login {
	case LoginTrust:
		return c.trusted(user, r.cfg)
	case LoginCert:
		return c.certified(user, r.cfg)
	}
	all, err := c.useLogins()
	if err != nil {
		return err
	}
	defer all.leave()
	plain, err := c.inTheClear(r.listener)
	switch {
	case err != nil:
		return err
	case p.password != "":
		return c.checkPlain(ctx, user, p.password, all)
	case p.exchange == nil || plain && r.listener.IAMAuth == IAMRequired:
		return errChanged
	}
	a, err := all.account(ctx, r.listener.Cluster, user)
	if err != nil {
		return err
	}
	if a.why == "" && factorsOf(a.stored) != p.factors {
		return errChanged // the proof is of another salt
	}
	_, err = a.check(ctx, p.accept)
	return err
}

// inTheClear reports whether clients are asked for a password in the clear, which may be a token, and refuses those who may not say it there.
func (c *client) inTheClear(l *Listener) (bool, error) {
	private := c.tls != nil || l.unix()
	if l.IAMAuth == IAMRequired && !private {
		return false, &problem{"28000", "fairlead: this address takes IAM tokens only, and those over TLS only: use sslmode=verify-full"}
	}
	return l.IAMAuth != IAMDisabled && private, nil
}

// useLogins are those of now, until leave, with the client's cluster among them.
func (c *client) useLogins() (*logins, error) {
	all, err := c.server.useLogins()
	if err != nil {
		return nil, err
	}
	if all.tokens[c.listener.Cluster] == nil { // there was a reload since
		all.leave()
		return nil, noCluster(c.listener.Cluster)
	}
	return all, nil
}
