package driver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/rdsname"
	"github.com/fairlead-go/fairlead/internal/rdsroots"
)

// rdsRoots is the value of sslrootcert for the certificates of RDS that are in this binary.
const rdsRoots = "rds"

// pgxFallback is pgx's other way to the database.
type pgxFallback = pgconn.FallbackConfig

// trust says which certificates a server's has to be signed by.
type trust struct {
	forPgx [][2]string // what pgx is told about it
	roots  string      // sslrootcert, "" if nobody gives it
	client string      // sslcert and sslkey, where the DSN does not have them
}

// trust reads sslrootcert and sslmode from wherever pgx does, and gives them the defaults that pgx does not know: tokens are
// for verified servers only unless somebody says otherwise, and so is sslrootcert=rds, as sslrootcert=system is.
func (d *splitted) trust(service map[string]string) trust {
	var t trust
	look := func(key, env string) string {
		if slices.Contains(d.keys, key) {
			return "given"
		}
		if v, ok := service[key]; ok {
			return v
		}
		return os.Getenv(env)
	}
	mode := look("sslmode", "PGSSLMODE")
	t.client = look("sslcert", "PGSSLCERT") + "\x00" + look("sslkey", "PGSSLKEY")
	t.roots = look("sslrootcert", "PGSSLROOTCERT")
	if d.rdsRoots {
		t.roots = rdsRoots
	}
	if t.roots == rdsRoots {
		t.forPgx = append(t.forPgx, [2]string{"sslrootcert", ""})
	}
	auth, ok := d.own["auth"]
	if !ok {
		if auth, ok = service["auth"]; !ok {
			auth = os.Getenv(paramNamed("auth").env())
		}
	}
	if mode == "" && (Auth(auth).bearer() || t.roots == rdsRoots) {
		t.forPgx = append(t.forPgx, [2]string{"sslmode", "verify-full"})
	}
	return t
}

// secure puts into the configuration what pgx cannot be told: RDS's certificates, where they are asked for and where the host
// is an RDS endpoint and nothing else is, and the name that is verified behind a tunnel.
func (c *Config) secure(t trust) {
	type way struct {
		host string
		tls  *tls.Config
	}
	ways := []way{{c.Conn.Host, c.Conn.TLSConfig}}
	for _, f := range c.Conn.Fallbacks {
		ways = append(ways, way{f.Host, f.TLSConfig})
	}
	for _, w := range ways {
		if w.tls == nil {
			continue
		}
		unverified := w.tls.InsecureSkipVerify && w.tls.VerifyPeerCertificate == nil
		switch {
		case t.roots == rdsRoots && !unverified, t.roots == "" && w.tls.RootCAs == nil && !unverified && rdsname.Bundled(w.host):
			w.tls.RootCAs = rdsroots.Pool()
		case t.roots == rdsRoots && !slices.ContainsFunc(ways, func(o way) bool { return o.host == w.host && o.tls == nil }):
			// With certificates given, sslmode=require is verify-ca, as in libpq.
			w.tls.RootCAs = rdsroots.Pool()
			w.tls.VerifyPeerCertificate = verifyChain
		}
		if c.IAMHost != "" && !w.tls.InsecureSkipVerify {
			w.tls.ServerName, _ = splitHost(c.IAMHost)
		}
	}
}

// verifyChain is sslmode=verify-ca with RDS's certificates: any name, but one of them has to have signed.
func verifyChain(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) == 0 {
		return errors.New("fairlead: the server has shown no certificate")
	}
	opts := x509.VerifyOptions{Roots: rdsroots.Pool(), Intermediates: x509.NewCertPool()}
	certs := make([]*x509.Certificate, len(raw))
	for i, der := range raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if certs[i] = cert; i > 0 {
			opts.Intermediates.AddCert(cert)
		}
	}
	_, err := certs[0].Verify(opts)
	return err
}
