package awscreds_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

// ask sends a token's request to where it is for, and gives the answer's status.
func ask(t *testing.T, token, audience string) (status int, said string) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, awscreds.STSPrefix))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(awscreds.STSAudienceHeader, audience)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b := make([]byte, 4096)
	n, _ := res.Body.Read(b)
	return res.StatusCode, string(b[:n])
}

func TestAnSTSTokenTellsWhoOneIsToItsAudienceOnly(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	p, err := awscreds.NewSTS(awscreds.STSConfig{Audience: "prod-orders"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	c := mustGive(t, p, target)
	if !c.Bearer || c.User != target.User || !strings.HasPrefix(c.Password.Reveal(), awscreds.STSPrefix) {
		t.Errorf("%+v", c)
	}
	if n := s.Asked("GetCallerIdentity"); n != 0 {
		t.Errorf("AWS was asked %d times", n)
	}
	if status, said := ask(t, c.Password.Reveal(), "prod-orders"); status != http.StatusOK || !strings.Contains(said, "assumed-role/"+fakeaws.DefaultRole+"/") {
		t.Errorf("%d %s", status, said)
	}
	if status, _ := ask(t, c.Password.Reveal(), "another"); status != http.StatusForbidden {
		t.Errorf("another audience: %d", status)
	}
	text, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(c.Password.Reveal(), awscreds.STSPrefix))
	u, err := url.Parse(string(text))
	if err != nil || u.Query().Get("X-Amz-Expires") != "900" || u.Query().Get("X-Amz-SignedHeaders") != "host;x-fairlead-audience" {
		t.Errorf("%v, %v", u.Query(), err)
	}
	if again := mustGive(t, p, target); again != c {
		t.Error("a second token was made")
	}
	s.SetSkew(time.Hour)
	if fresh := mustGive(t, p, target, c); fresh.Same(c) {
		t.Error("a refused token was given again")
	} else if status, said := ask(t, fresh.Password.Reveal(), "prod-orders"); status != http.StatusOK {
		t.Errorf("with a clock that is wrong: %d %s", status, said)
	}
	if _, err := awscreds.NewSTS(awscreds.STSConfig{}); err == nil {
		t.Error("nobody is an audience")
	}
}
