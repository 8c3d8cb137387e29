// Package fakeaws is as much of AWS as a database client needs to log in: Secrets Manager, STS's GetCallerIdentity, a
// container's credentials endpoint, and the check of IAM tokens that RDS makes.
//
//	s := fakeaws.Start(t)
//	for name, value := range s.Environment() {
//		t.Setenv(name, value) // AWS_ENDPOINT_URL_SECRETS_MANAGER and others: the real SDK finds it
//	}
//	secret := s.CreateSecret("prod/app", `{"username":"app","password":"first"}`)
//	c := rdstest.Start(t, rdstest.Config{IAM: s.VerifyToken})
//
// Requests must be signed, by a key that the server knows, for the time that it is by its clock. It can be slow, out of
// order or throttled, and it counts what is asked of it.
package fakeaws
