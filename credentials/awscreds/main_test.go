package awscreds_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/credentials"
)

func TestMain(m *testing.M) {
	// The SDK keeps connections to endpoints open between requests; they end with the servers.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"))
}

var target = credentials.Target{Host: "app-1.xyz.eu-west-1.rds.amazonaws.com", Port: 5432, User: "app"}

// refuse is a login in which the server has refused these.
func refuse(list ...*credentials.Credential) (refused []credentials.Refusal) {
	for _, c := range list {
		refused = append(refused, credentials.Refusal{Credential: c})
	}
	return refused
}
