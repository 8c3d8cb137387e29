package awscreds

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func TestSecretsInWhateverForm(t *testing.T) {
	for text, want := range map[string][2]string{
		`{"username":"app","password":"pw"}`:                                              {"app", "pw"},
		`{"user":"app","password":"pw"}`:                                                  {"app", "pw"},
		`{"user":"app","pass":"pw"}`:                                                      {"app", "pw"},
		`{"DB_USER":"app","DB_PASSWORD":"pw"}`:                                            {"app", "pw"},
		`{"db_user":"app","db_pass":"pw","db_name":"x"}`:                                  {"app", "pw"},
		`{"dbUsername":"app","dbPassword":"pw"}`:                                          {"app", "pw"},
		`{"USERNAME":"app","PASSWORD":"pw"}`:                                              {"app", "pw"},
		`{"POSTGRES_USER":"app","POSTGRES_PASSWORD":"pw"}`:                                {"app", "pw"},
		`{"PGUSER":"app","PGPASSWORD":"pw"}`:                                              {"app", "pw"},
		`{"master-username":"app","master-password":"pw"}`:                                {"app", "pw"},
		`{"login":"app","pwd":"pw"}`:                                                      {"app", "pw"},
		`{"Database.User":"app","passwd":"pw"}`:                                           {"app", "pw"},
		`{"username":"app","password":123456}`:                                            {"app", "123456"},
		`{"username":42,"password":12345678901234567890123}`:                              {"42", "12345678901234567890123"},
		`{"username":"app","password":1.50}`:                                              {"app", "1.50"},
		"\ufeff" + `{"username":"app","password":"pw"}`:                                   {"app", "pw"},
		" \n" + `{"username":"app","password":"pw"}`:                                      {"app", "pw"},
		`{"username":"app","password":"pw","user":"other","pass":"other"}`:                {"app", "pw"},
		`{"user":"app","USER":"app","password":"pw"}`:                                     {"app", "pw"},
		`{"username":"app","password":"pw","password_hint":"x","user_id":"7"}`:            {"app", "pw"},
		`{"username":"app","password":"pw","engine":"aurora-postgresql"}`:                 {"app", "pw"},
		`{"username":"app","password":"pw","engine":"postgres","port":5432,"x":{"y":[]}}`: {"app", "pw"},
	} {
		v, err := parse("read", "AWSCURRENT", &secretsmanager.GetSecretValueOutput{SecretString: &text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := [2]string{v.credential.User, v.credential.Password.Reveal()}; got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestSecretsOfNoUseAreNotShown(t *testing.T) {
	const marker = "s3cr3tMARK"
	for text, want := range map[string]string{
		`{"user":"a","db_user":"` + marker + `","password":"pw"}`:       "several values that may be the username",
		`{"username":"app","pass":"` + marker + `","DB_PASSWORD":"pw"}`: "several values that may be the password",
		`{"username":"app","password":""}`:                              "under password",
		`{"username":"app","password":null}`:                            "under password",
		`{"username":"app","password":true}`:                            "under password",
		`{"username":"app","password":["` + marker + `"]}`:              "under password",
		`{"username":"app","password":{"` + marker + `":1}}`:            "under password",
		`{"username":"app","secret":"` + marker + `"}`:                  "under password",
		`{"username":"app","password":"","pass":"` + marker + `"}`:      "under password",
		`{"password":"` + marker + `"}`:                                 "under username",
		`{"username":"app","password":"pw","engine":"` + marker + `"}`:  "another engine",
		`{"username":"app","password":"pw","engine":"aurora-mysql"}`:    "the engine mysql",
		`{"username":"app","password":"` + marker:                       "no JSON",
		`"` + marker + `"`:                     "no JSON",
		`["` + marker + `"]`:                   "no JSON",
		`postgres://app:` + marker + `@db/app`: "no JSON",
		`null`:                                 "no JSON",
		"":                                     "no JSON",
		"\xff\xfe{\x00" + marker:               "no JSON",
		`{"username":"app","password":"pw"} {"password":"` + marker + `"}`: "no JSON",
	} {
		_, err := parse("read", "AWSCURRENT", &secretsmanager.GetSecretValueOutput{SecretString: &text})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := parse("read", "AWSCURRENT", &secretsmanager.GetSecretValueOutput{SecretBinary: []byte(aws.ToString(nil))}); err == nil {
		t.Error("binary")
	}
}
