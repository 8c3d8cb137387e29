package awscreds

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/fairlead-go/fairlead/credentials"
)

// version is one version of a secret. It does not change.
type version struct {
	id         string
	read       time.Time
	credential credentials.Credential
}

// parse reads the JSON that RDS and its rotation functions write. No error has anything of the value in it.
func parse(op, stage string, out *secretsmanager.GetSecretValueOutput) (*version, error) {
	const shape = `it should be {"username":"…","password":"…"}`
	bad := func(what, remedy string) error {
		return &Error{Reason: BadSecret, Op: op, Err: fmt.Errorf("its version %s %s", stage, what), Remedy: remedy}
	}
	if out.SecretString == nil {
		return nil, bad("is binary", shape+", stored with --secret-string")
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(*out.SecretString), &fields) != nil || fields == nil {
		return nil, bad("is no JSON object", shape)
	}
	text := func(key string) (s string) {
		if raw, ok := fields[key]; !ok || json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	for _, key := range []string{"username", "password"} {
		if text(key) == "" {
			return nil, bad("has no text under "+key, shape)
		}
	}
	if engine := text("engine"); engine != "" && !strings.Contains(engine, "postgres") {
		return nil, bad("is for the engine "+engine, "name a secret for a PostgreSQL server")
	}
	return &version{
		id: aws.ToString(out.VersionId), read: time.Now(),
		credential: credentials.Credential{User: text("username"), Password: credentials.NewSecret(text("password")), Label: stage},
	}, nil
}
