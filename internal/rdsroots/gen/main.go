// Command gen writes the bundle of certificates that package rdsroots embeds: those of the given PEM files that are
// authorities and have not expired, each once, in the order of their names.
//
//	go run ./internal/rdsroots/gen bundle.pem > internal/rdsroots/roots.pem
package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr, time.Now()); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}

func run(files []string, out, log io.Writer, now time.Time) error {
	if len(files) == 0 {
		return fmt.Errorf("no files: name the PEM bundles to take certificates from")
	}
	var certs []*x509.Certificate
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			certs = append(certs, cert)
		}
	}
	slices.SortFunc(certs, func(a, b *x509.Certificate) int {
		return cmp.Or(cmp.Compare(a.Subject.CommonName, b.Subject.CommonName), bytes.Compare(a.Raw, b.Raw))
	})
	certs = slices.CompactFunc(certs, (*x509.Certificate).Equal)
	kept := 0
	for _, cert := range certs {
		if !cert.IsCA || !now.Before(cert.NotAfter) {
			fmt.Fprintf(log, "left out: %s, until %s\n", cert.Subject.CommonName, cert.NotAfter.Format(time.DateOnly))
			continue
		}
		kept++
		if _, err := fmt.Fprintf(out, "# %s, until %s\n%s", cert.Subject.CommonName, cert.NotAfter.Format(time.DateOnly),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})); err != nil {
			return err
		}
	}
	fmt.Fprintf(log, "%d of %d certificates\n", kept, len(certs))
	return nil
}
