package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// expirySoon is when a certificate's end is worth a word.
const expirySoon = 30 * 24 * time.Hour

// sslRequest asks a PostgreSQL server for TLS.
var sslRequest = []byte{0, 0, 0, 8, 4, 210, 22, 47}

// dns looks up the hosts of the DSN.
func (e *examination) dns(ctx context.Context) Check {
	var found []string
	for _, h := range e.hosts {
		if h.local() || net.ParseIP(h.name) != nil {
			e.addrs[h.name] = []string{h.name}
			continue
		}
		lookup, cancel := context.WithTimeout(ctx, patience)
		addrs, err := e.resolver.LookupHost(lookup, h.name)
		cancel()
		if err != nil {
			vpc := ""
			if e.place() == onRDS {
				vpc = "; inside a VPC, enableDnsSupport and enableDnsHostnames have to be on"
			}
			return fail(err.Error(), "check the name: `dig +short %s`%s", h.name, vpc)
		}
		e.addrs[h.name] = addrs
		found = append(found, h.name+" is "+strings.Join(addrs, ", "))
	}
	if len(found) == 0 {
		return skip("the DSN has addresses, no names")
	}
	return ok("%s", strings.Join(found, "; "))
}

// tcp connects to the first address of each host.
func (e *examination) tcp(ctx context.Context) Check {
	var reached []string
	var failed error
	for _, h := range e.hosts {
		if len(e.addrs[h.name]) == 0 {
			continue
		}
		conn, err := e.dial(ctx, h)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		_ = conn.Close()
		reached = append(reached, h.String())
	}
	e.reached = len(reached) > 0
	timeout := (net.Error)(nil)
	switch {
	case failed == nil && !e.reached:
		return skip("no host could be looked up")
	case failed == nil:
		return ok("connected to %s", strings.Join(reached, ", "))
	case errors.As(failed, &timeout) && timeout.Timeout():
		return Check{Status: Failed, Found: failed.Error(), Remedy: e.silenceRemedy()}
	}
	return Check{Status: Failed, Found: failed.Error(), Remedy: e.refusalRemedy()}
}

func (e *examination) dial(ctx context.Context, h host) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	network, addr := "tcp", net.JoinHostPort(e.addrs[h.name][0], fmt.Sprint(h.port))
	if h.local() {
		network, addr = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", h.name, h.port)
	}
	if e.cfg.DialFunc != nil {
		return e.cfg.DialFunc(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// tls shakes hands with the first host, as the DSN says.
func (e *examination) tls(ctx context.Context) Check {
	cfg := e.cfg.Conn.TLSConfig
	switch {
	case !e.reached:
		return skip("no host was reached")
	case e.hosts[0].local():
		return skip("a socket of this machine")
	case cfg == nil && e.place() == here:
		return ok("the DSN asks for none, and the server is on this machine")
	case cfg == nil:
		return warn("the DSN asks for none", "set sslmode=verify-full")
	}
	state, err := e.handshake(ctx, cfg)
	if err != nil {
		return e.explainTLS(ctx, cfg, err)
	}
	leaf := state.PeerCertificates[0]
	found := fmt.Sprintf("%s, certificate for %s by %s until %s", tls.VersionName(state.Version), strings.Join(names(leaf), ", "),
		leaf.Issuer.CommonName, leaf.NotAfter.Format(time.DateOnly))
	switch {
	case cfg.InsecureSkipVerify && cfg.VerifyPeerCertificate == nil:
		return warn(found+"; it was not verified", "set sslmode=verify-full%s", e.rootsRemedy())
	case time.Until(leaf.NotAfter) < expirySoon:
		return warn(found, "%s", e.renewalRemedy())
	}
	return ok("%s", found)
}

// errNoTLS is a server that has none.
var errNoTLS = errors.New("the server has no TLS")

func (e *examination) handshake(ctx context.Context, cfg *tls.Config) (tls.ConnectionState, error) {
	conn, err := e.dial(ctx, e.hosts[0])
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return tls.ConnectionState{}, err
	}
	if e.cfg.Conn.SSLNegotiation != "direct" {
		answer := make([]byte, 1)
		if _, err := conn.Write(sslRequest); err != nil {
			return tls.ConnectionState{}, err
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			return tls.ConnectionState{}, err
		}
		if answer[0] != 'S' {
			return tls.ConnectionState{}, errNoTLS
		}
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return secure.ConnectionState(), nil
}

// explainTLS says what is wrong with a handshake. The certificate is looked at without being trusted.
func (e *examination) explainTLS(ctx context.Context, cfg *tls.Config, err error) Check {
	if errors.Is(err, errNoTLS) {
		return fail(err.Error(), "connect to the instance itself, or set sslmode=disable in a network of your own")
	}
	unverified := cfg.Clone()
	unverified.InsecureSkipVerify, unverified.VerifyPeerCertificate, unverified.VerifyConnection = true, nil, nil
	state, again := e.handshake(ctx, unverified)
	if again != nil {
		return fail(err.Error(), "the handshake fails before certificates count: check that a PostgreSQL server listens there, and that nothing between intercepts TLS")
	}
	leaf := state.PeerCertificates[0]
	var (
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return fail(fmt.Sprintf("the certificate is for %s, not for %s", strings.Join(names(leaf), ", "), cfg.ServerName),
			"use one of these names as the host; behind a tunnel, a CNAME or a load balancer set auth=iam and iam_host, or sslmode=verify-ca")
	case errors.As(err, &authority):
		return fail(fmt.Sprintf("the certificate is signed by %q, which is not trusted", leaf.Issuer.CommonName),
			"set sslrootcert=rds for a server of RDS, or to the file with the certificate of that authority")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fail(fmt.Sprintf("the certificate is good from %s to %s, and it is %s here", leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly), time.Now().Format(time.DateTime)),
			"%s; or set this machine's clock", e.renewalRemedy())
	}
	return fail(err.Error(), "check sslrootcert (%s in the environment)", orNothing(os.Getenv("PGSSLROOTCERT")))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// names are what a certificate is for.
func names(c *x509.Certificate) []string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		all = append(all, c.Subject.CommonName)
	}
	return all
}
