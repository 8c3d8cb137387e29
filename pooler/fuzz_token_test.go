package pooler

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsstatic "github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
)

const tokenRegion = "eu-west-1"

// signer is what signs tokens for a region, with credentials that are nobody's.
func signer(session string) awscreds.Config {
	return awscreds.Config{Region: tokenRegion, AWS: &aws.Config{
		Region: tokenRegion, Credentials: awsstatic.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", session),
	}}
}

// revealed is the password that a provider gives, which is closed then.
func revealed(t testing.TB, p interface {
	credentials.Provider
	Close() error
}, user string) string {
	t.Helper()
	defer func() { _ = p.Close() }()
	c, err := p.Credential(t.Context(), credentials.Target{Host: "db.example.com", Port: 5432, User: user}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Password.Reveal()
}

// parameters reads a query in the plainest way: all values of each name.
func parameters(t *testing.T, text string) map[string][]string {
	t.Helper()
	text, _, _ = strings.Cut(text, "#")
	_, query, _ := strings.Cut(text, "?")
	all := map[string][]string{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			t.Fatalf("parameter %q was taken", pair)
		}
		if value, err = url.QueryUnescape(value); err != nil {
			t.Fatalf("parameter %q was taken", pair)
		}
		if pair != "" {
			all[name] = append(all[name], value)
		}
	}
	return all
}

// sayTheEnd checks that a token's own parameters say when it ends, in one way only.
func sayTheEnd(t *testing.T, q map[string][]string, end time.Time) {
	t.Helper()
	if len(q["X-Amz-Date"]) != 1 || len(q["X-Amz-Expires"]) != 1 {
		t.Fatalf("it is of %q, for %q", q["X-Amz-Date"], q["X-Amz-Expires"])
	}
	seconds, err := strconv.ParseUint(q["X-Amz-Expires"][0], 10, 64)
	if err != nil || seconds == 0 || seconds > 900 {
		t.Fatalf("it is for %q s", q["X-Amz-Expires"])
	}
	at := end.Add(-time.Duration(seconds) * time.Second)
	if got := at.UTC().Format("20060102T150405Z"); got != q["X-Amz-Date"][0] {
		t.Fatalf("it is of %q for %d s, and ends at %v", q["X-Amz-Date"], seconds, end)
	}
}

// What is taken for an IAM token says of itself for whom it is and how long, and says neither twice.
func FuzzIAMToken(f *testing.F) {
	good := revealed(f, awscreds.NewIAM(awscreds.IAMConfig{Config: signer("")}), "app")
	again := func(name, value string) string { return good + "&" + name + "=" + value }
	for _, seed := range []string{
		"", "pw", "https://", "?Action=connect&X-Amz-Signature=0", good, good + "#", good + "&", "user:password@" + good,
		revealed(f, awscreds.NewIAM(awscreds.IAMConfig{Config: signer("session/+=")}), "ümlaut & co"),
		again("DBUser", "other"), again("Action", "x"), again("X-Amz-Expires", "1"), again("X-Amz-Date", "20300101T000000Z"), again("%", ""), again("a;b", ""),
		strings.Replace(good, "X-Amz-Expires=900", "X-Amz-Expires=18446744074", 1),
		strings.Replace(good, "X-Amz-Expires=900", "X-Amz-Expires=%2B900", 1),
		strings.Replace(good, "Z&X-Amz-Expires", ".5Z&X-Amz-Expires", 1),
		strings.Replace(good, "DBUser=app", "DBUser=a%00b", 1),
	} {
		f.Add(seed)
	}
	if _, ok := parseToken(good); !ok {
		f.Fatal("a good token is taken for none")
	}
	f.Fuzz(func(t *testing.T, password string) {
		got, ok := parseToken(password)
		if !ok {
			return
		}
		q := parameters(t, password)
		if !slices.Equal(q["Action"], []string{"connect"}) || len(q["X-Amz-Signature"]) != 1 || q["X-Amz-Signature"][0] == "" {
			t.Errorf("it is for %q, signed with %q", q["Action"], q["X-Amz-Signature"])
		}
		if got.text != password || !slices.Equal(q["DBUser"], []string{got.user}) {
			t.Errorf("it is for user %q, and not for %q", q["DBUser"], got.user)
		}
		sayTheEnd(t, q, got.end)
	})
}

// Whatever a client says of itself, all that can come of it is the one question to the one endpoint, as it was checked.
func FuzzSTSToken(f *testing.F) {
	const audience = "prod-orders"
	var all []*roles
	for _, endpoint := range []string{stsOf(tokenRegion), "http://127.0.0.1:4566"} {
		r := newRoles(&Cluster{IAMAudience: audience, STSEndpoint: endpoint}, []byte("key"), slog.New(slog.DiscardHandler))
		f.Cleanup(r.flights.close)
		all = append(all, r)
		for _, session := range []string{"", "session/+="} {
			cfg := signer(session)
			cfg.AWS.BaseEndpoint = aws.String(endpoint)
			p, err := awscreds.NewSTS(awscreds.STSConfig{Audience: audience, Config: cfg})
			if err != nil {
				f.Fatal(err)
			}
			token := strings.TrimPrefix(revealed(f, p, "app"), awscreds.STSPrefix)
			if _, _, err := r.read(token); err != nil {
				f.Fatalf("a good token: %v", err)
			}
			text, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil {
				f.Fatal(err)
			}
			good := string(text)
			_, host, _ := strings.Cut(endpoint, "//")
			for _, seed := range []string{
				good, token, token[:9] + "\r\n" + token[9:], good + "#fragment", good + "&", good + "&Action=x", good + "&action=x", good + "&%41ction=x", good + "&X-Amz-Expires=1",
				strings.Replace(good, host, "evil.example", 1), strings.Replace(good, host, "x@"+host, 1), strings.Replace(good, host, host+":443", 1),
				strings.Replace(good, host, host+"\r\nX: y", 1), strings.Replace(good, host+"/", host+"//evil.example/", 1), strings.Replace(good, host, strings.ToUpper(host), 1),
				strings.Replace(good, "AKIA", "%0D%0AX-Y:%20z%0D%0A", 1), strings.Replace(good, "X-Amz-Expires=900", "X-Amz-Expires=18446744074", 1),
				strings.Replace(good, "GetCallerIdentity", "GetSessionToken", 1), strings.Replace(good, "X-Amz-Expires=900", "X-Amz-Expires=%2B900", 1),
			} {
				f.Add(seed)
			}
		}
	}
	f.Fuzz(func(t *testing.T, said string) {
		for _, token := range []string{said, base64.RawURLEncoding.EncodeToString([]byte(said))} {
			for _, r := range all {
				q, end, err := r.read(token)
				if err != nil {
					continue
				}
				text, err := base64.RawURLEncoding.DecodeString(token)
				if err != nil || base64.RawURLEncoding.EncodeToString(text) != token {
					t.Fatalf("%q was taken for %q", token, text)
				}
				mine := parameters(t, string(text))
				sayTheEnd(t, mine, end)
				asksOnly(t, r, q, mine)
			}
		}
	})
}

// asksOnly looks at the request that is sent, byte for byte: whose it is, at the endpoint and with nothing else in it than the
// token has.
func asksOnly(t *testing.T, r *roles, q url.Values, claimed map[string][]string) {
	t.Helper()
	req, err := r.request(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if req.URL.Scheme != r.endpoint.Scheme || req.URL.Host != r.endpoint.Host || req.URL.User != nil {
		t.Fatalf("it goes to %q", req.URL)
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(&wire)
	sent, err := http.ReadRequest(in)
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(sent.Header))
	if sent.Method != http.MethodGet || sent.Host != r.endpoint.Host || sent.ContentLength != 0 || in.Buffered() != 0 ||
		!slices.Equal(names, []string{"User-Agent", awscreds.STSAudienceHeader}) || !slices.Equal(sent.Header[awscreds.STSAudienceHeader], []string{r.audience}) {
		t.Fatalf("it is %s for %s with %v, and %d bytes more", sent.Method, sent.Host, sent.Header, in.Buffered())
	}
	if path, _, _ := strings.Cut(sent.RequestURI, "?"); path != "/" {
		t.Fatalf("it is for %q", path)
	}
	asked := parameters(t, sent.RequestURI)
	if !maps.EqualFunc(asked, claimed, slices.Equal) {
		t.Fatalf("%q became %q", claimed, asked)
	}
	for name, want := range map[string]string{
		"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-SignedHeaders": "host;x-fairlead-audience",
	} {
		if !slices.Equal(asked[name], []string{want}) {
			t.Fatalf("%s is %q", name, asked[name])
		}
		delete(asked, name)
	}
	for name, values := range asked {
		if !strings.HasPrefix(name, "X-Amz-") || len(values) != 1 {
			t.Fatalf("%s is %q", name, values)
		}
	}
}
