// Package testca is a certificate authority that lives as long as a test: it signs what servers and clients of one test
// world show each other, and nothing outside that world trusts it.
//
//	ca, err := testca.New()
//	if err != nil {
//		return err
//	}
//	cert, err := ca.Issue([]string{"*.eu-central-1.rds.amazonaws.com"}, nil)
//	if err != nil {
//		return err
//	}
//	server := &tls.Config{Certificates: []tls.Certificate{cert}}
//	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "db1.eu-central-1.rds.amazonaws.com"}
//
// A client that reads its roots from a file (sslrootcert) gets them with PEM:
//
//	err = os.WriteFile(path, ca.PEM(), 0o600)
//
// Keys are kept in memory alone. Each certificate has its own, and says what it is for: one that Issue has made does not
// log a client in, and one of IssueClient does not serve.
package testca
