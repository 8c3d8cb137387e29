package awscreds

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
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

// byteOrderMark begins texts of some editors.
const byteOrderMark = "\ufeff"

// What a user's name and a password are called in secrets, without what stands before them and between their words.
var (
	userKeys     = []string{"username", "user", "login"}
	passwordKeys = []string{"password", "pass", "passwd", "pwd"}
)

// beforeKeys may stand before such a key, as in DB_USER and POSTGRES_PASSWORD.
var beforeKeys = []string{"", "db", "database", "pg", "postgres", "postgresql", "rds", "master"}

// engines are those that secrets of RDS are for, of which an error may tell.
var engines = []string{"mysql", "mariadb", "aurora-mysql", "oracle", "sqlserver", "db2", "mongo", "docdb", "redshift", "neptune"}

// parse reads the JSON that RDS and its rotation functions write, and the like with other common keys. No error has anything of the value in it.
func parse(op, stage string, out *secretsmanager.GetSecretValueOutput) (*version, error) {
	const shape = `it should be {"username":"…","password":"…"}`
	bad := func(what, remedy string) error {
		return &Error{Reason: BadSecret, Op: op, Err: fmt.Errorf("its version %s %s", stage, what), Remedy: remedy}
	}
	if out.SecretString == nil {
		return nil, bad("is binary", shape+", stored with --secret-string")
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(strings.TrimPrefix(*out.SecretString, byteOrderMark)), &fields) != nil || fields == nil {
		return nil, bad("is no JSON object", shape)
	}
	var found [2]string
	for i, keys := range [2][]string{userKeys, passwordKeys} {
		value, several := lookUp(fields, keys)
		switch {
		case several:
			return nil, bad("has several values that may be the "+keys[0]+", and they differ", "leave one of them, or call the right one "+keys[0])
		case value == "":
			return nil, bad("has no text under "+keys[0], shape)
		}
		found[i] = value
	}
	if engine := strings.ToLower(scalar(fields["engine"])); engine != "" && !strings.Contains(engine, "postgres") {
		what := "another engine"
		for _, e := range engines {
			if strings.Contains(engine, e) {
				what = "the engine " + e
				break
			}
		}
		return nil, bad("is for "+what, "name a secret for a PostgreSQL server")
	}
	return &version{
		id: aws.ToString(out.VersionId), read: time.Now(),
		credential: credentials.Credential{User: found[0], Password: credentials.NewSecret(found[1]), Label: stage},
	}, nil
}

// lookUp finds what stands under one of the keys. The first of them counts for more than all others; several reports that others contradict each other.
func lookUp(fields map[string]json.RawMessage, keys []string) (value string, several bool) {
	if raw, ok := fields[keys[0]]; ok {
		return scalar(raw), false
	}
	for key, raw := range fields {
		if !named(key, keys) {
			continue
		}
		v := scalar(raw)
		if v != "" && value != "" && v != value {
			return "", true
		}
		value = cmp.Or(value, v)
	}
	return value, false
}

// named reports whether a key is one of those that are looked for, in whatever spelling.
func named(key string, keys []string) bool {
	key = strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(key))
	for _, before := range beforeKeys {
		if rest, ok := strings.CutPrefix(key, before); ok && slices.Contains(keys, rest) {
			return true
		}
	}
	return false
}

// scalar is a text, or a number as it is written; "" is anything else.
func scalar(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}
