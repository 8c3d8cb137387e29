package pooler

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// certified refuses a client whose certificate does not speak for the user.
func (c *client) certified(user string, cfg *Config) error {
	chains := c.chains()
	if len(chains) == 0 {
		return &denied{"the client has shown no certificate"} // GetConfigForClient asked for none
	}
	cert := chains[0][0]
	if len(c.listener.certRules) == 0 {
		if cert.Subject.CommonName != user || !cfg.knows(c.listener.Cluster, user) {
			return &denied{fmt.Sprintf("the certificate is for %q, and the user is to be the same, and the DSN's or one of users", cert.Subject.CommonName)}
		}
		return nil
	}
	if !slices.ContainsFunc(c.listener.certRules, func(r certRule) bool { return r.lets(cert, user) }) {
		return &denied{fmt.Sprintf("cert_map has no such user for the certificate of %q", cert.Subject)}
	}
	return nil
}

// certRule is a CertRule that can be looked at.
type certRule struct {
	CertRule
	expression *regexp.Regexp // nil: the name is meant as it is
}

// group stands for what an expression's first group has matched.
const group = `\1`

func newCertRules(list []CertRule) ([]certRule, error) {
	rules := make([]certRule, len(list))
	for i, r := range list {
		if err := r.Field.check(); err != nil {
			return nil, fmt.Errorf("cert_map: rule %d: %w", i+1, err)
		}
		expression, err := certExpression(r.Name)
		if err != nil {
			return nil, fmt.Errorf("cert_map: rule %d: %w", i+1, err)
		}
		switch {
		case r.User == "":
			return nil, fmt.Errorf("cert_map: rule %d: user is missing", i+1)
		case strings.Contains(r.User, group) && (expression == nil || expression.NumSubexp() == 0):
			return nil, fmt.Errorf("cert_map: rule %d: user has %s, and name is no expression with a group: /(.*)\\.example\\.com", i+1, group)
		}
		rules[i] = certRule{r, expression}
	}
	return rules, nil
}

func (f CertField) check() error {
	if f != CertCN && f != CertDNS && f != CertURI {
		return errors.New("field is not known: cn, dns and uri are")
	}
	return nil
}

// certExpression is the expression that a name is; nil if it is none.
func certExpression(name string) (*regexp.Regexp, error) {
	if name == "" || name == "/" {
		return nil, errors.New("name is empty")
	}
	text, ok := strings.CutPrefix(name, "/")
	if !ok {
		return nil, nil
	}
	expression, err := regexp.Compile(`\A(?:` + text + `)\z`)
	if err != nil {
		var why *syntax.Error
		if errors.As(err, &why) {
			return nil, fmt.Errorf("name: error parsing regexp: %s", why.Code)
		}
		return nil, errors.New("name: error parsing regexp")
	}
	return expression, nil
}

// lets reports whether a certificate may come in as a user by this rule.
func (r *certRule) lets(cert *x509.Certificate, user string) bool {
	var names []string
	switch r.Field {
	case CertCN:
		names = []string{cert.Subject.CommonName}
	case CertDNS:
		names = cert.DNSNames
	case CertURI:
		for _, u := range cert.URIs {
			names = append(names, u.String())
		}
	}
	return slices.ContainsFunc(names, func(name string) bool {
		if r.expression == nil {
			return name == r.Name && user == r.User
		}
		found := r.expression.FindStringSubmatch(name)
		if found == nil {
			return false
		}
		if r.expression.NumSubexp() == 0 {
			return user == r.User
		}
		return user == strings.ReplaceAll(r.User, group, found[1])
	})
}
