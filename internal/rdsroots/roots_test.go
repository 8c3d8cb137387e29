package rdsroots

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// warning is how long before the end of a certificate the bundle has to be renewed: applications update slowly.
const warning = 365 * 24 * time.Hour

func bundle(t *testing.T) (certs []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(pemBundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	return certs
}

func TestNoCertificateEndsWithinAYear(t *testing.T) {
	for _, cert := range bundle(t) {
		if time.Until(cert.NotAfter) < warning {
			t.Errorf("%s ends on %s: renew roots.pem as doc.go says", cert.Subject.CommonName, cert.NotAfter.Format(time.DateOnly))
		}
	}
}

func TestEveryRegionHasItsThreeAuthorities(t *testing.T) {
	of := make(map[string]int)
	amazon := 0
	for _, cert := range bundle(t) {
		name := cert.Subject.CommonName
		rest, ok := strings.CutPrefix(name, "Amazon RDS ")
		if !ok {
			amazon++
			continue
		}
		region, kind, ok := strings.Cut(rest, " Root CA ")
		if !ok || kind != "RSA2048 G1" && kind != "RSA4096 G1" && kind != "ECC384 G1" {
			t.Errorf("unexpected: %s", name)
		}
		of[region]++
		if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for region, n := range of {
		if n != 3 {
			t.Errorf("%s has %d", region, n)
		}
	}
	for _, region := range []string{"us-east-1", "eu-west-1", "ap-south-1", "sa-east-1"} {
		if of[region] == 0 {
			t.Errorf("%s has none", region)
		}
	}
	if amazon != 5 {
		t.Errorf("%d of Amazon's own", amazon)
	}
	if Pool().Equal(x509.NewCertPool()) {
		t.Error("the pool is empty")
	}
}
