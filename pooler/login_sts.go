package pooler

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/internal/rdsname"
)

const (
	// askTimeout bounds one question to STS, and askedAtOnce how many there are.
	askTimeout  = 5 * time.Second
	askedAtOnce = 10
	// answerSize bounds STS's answer, in bytes.
	answerSize = 64 << 10
)

// roles are those of AWS that may come in to a cluster, and what is known of whose a token is.
type roles struct {
	users    map[string][]string // by principal
	audience string
	endpoint *url.URL
	region   string // "": whatever STS takes
	client   *http.Client
	key      []byte
	log      *slog.Logger

	known   *recent[string, string] // principals, by the digests of tokens
	flights *flights[string]
	slots   chan struct{}
}

func newRoles(k *Cluster, key []byte, log *slog.Logger) *roles {
	r := &roles{
		users: make(map[string][]string, len(k.IAMRoles)), audience: k.IAMAudience, key: key, log: log,
		// Where an answer sends one, nobody's token is to go.
		client: &http.Client{
			Timeout: askTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		known: newRecent[string, string](tokensKept), flights: newFlights[string](), slots: make(chan struct{}, askedAtOnce),
	}
	r.endpoint, _ = url.Parse(k.STSEndpoint) // it was checked
	r.region = regionOf(r.endpoint.Hostname())
	for name, users := range k.IAMRoles {
		p, _ := principal(name) // it was checked
		r.users[p] = append(r.users[p], users...)
	}
	return r
}

// stsOf is a region's endpoint.
func stsOf(region string) string {
	return "https://sts." + region + "." + rdsname.PartitionOf(region).Suffix
}

// regionOf is the region in the name of an endpoint, "" if there is none in it.
func regionOf(host string) string {
	parts := strings.Split(host, ".")
	if i := slices.Index(parts, "sts"); i >= 0 && i+1 < len(parts) && strings.Contains(parts[i+1], "-") {
		return parts[i+1]
	}
	return ""
}

// checkSTSEndpoint refuses what is no endpoint, and what would send tokens in the clear to another machine.
func checkSTSEndpoint(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("sts_endpoint is no URL of a host: https://sts.<region>.amazonaws.com")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return errors.New("sts_endpoint: tokens are sent over https only")
	}
	return nil
}

// principal is the form of an ARN in which roles are compared: what STS tells of a session has the role without its path.
func principal(name string) (string, error) {
	a, err := arn.Parse(name)
	if err != nil {
		return "", errors.New("no ARN: arn:aws:iam::<account>:role/<name> is one")
	}
	kind, rest, ok := strings.Cut(a.Resource, "/")
	switch {
	case !ok || rest == "":
	case a.Service == "sts" && kind == "assumed-role":
		role, _, _ := strings.Cut(rest, "/")
		a.Service, a.Resource = "iam", "role/"+role
		return a.String(), nil
	case a.Service == "iam" && kind == "role":
		a.Resource = "role/" + rest[strings.LastIndex(rest, "/")+1:]
		return a.String(), nil
	case a.Service == "iam" && kind == "user":
		return a.String(), nil
	}
	return "", errors.New("neither a role nor a user of IAM: arn:aws:iam::<account>:role/<name> is one")
}

// login lets a client in as a user if its token is that of a role that may be this user. r is nil where no role may.
func (r *roles) login(ctx context.Context, user, token string) error {
	if r == nil {
		return &denied{"the password is a token of STS, and the cluster has no iam_roles"}
	}
	q, end, err := r.read(token)
	if err != nil {
		return &denied{"the token of STS: " + err.Error()}
	}
	digest := string(mac(r.key, "sts "+token))
	who, ok := r.known.get(digest)
	if !ok {
		if who, err = r.flights.do(ctx, digest, func(ctx context.Context) (string, error) { return r.ask(ctx, q, digest, end) }); err != nil {
			return err
		}
	}
	if !slices.Contains(r.users[who], user) {
		return &denied{fmt.Sprintf("%s may not come in as this user: iam_roles does not say so", who)}
	}
	return nil
}

// signed are the parameters of a request to STS that may be signed beforehand, each once and in no other spelling: what is checked here
// is to be what STS looks at.
var signed = []string{
	"Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-SignedHeaders", "X-Amz-Signature",
}

// read takes from a token what may be sent to STS. Its URL is for nothing but that: where it leads, nobody goes.
func (r *roles) read(token string) (q url.Values, end time.Time, err error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || strings.ContainsAny(token, "\r\n") { // which are passed over: it would have many spellings
		return nil, end, errors.New("it is not in base64")
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return nil, end, errors.New("it is no URL")
	}
	if q, err = url.ParseQuery(u.RawQuery); err != nil {
		return nil, end, errors.New("it is no URL with parameters")
	}
	for name, values := range q {
		if !slices.Contains(signed, name) || len(values) != 1 {
			return nil, end, fmt.Errorf("parameter %q is not known, or there twice", name)
		}
	}
	scope := strings.Split(q.Get("X-Amz-Credential"), "/")
	switch {
	case u.Scheme != r.endpoint.Scheme || !strings.EqualFold(u.Host, r.endpoint.Host) || strings.Trim(u.Path, "/") != "" || u.User != nil:
		return nil, end, fmt.Errorf("it is for %s, and not for %s", u.Host, r.endpoint.Host)
	case q.Get("Action") != "GetCallerIdentity" || q.Get("Version") != "2011-06-15":
		return nil, end, errors.New("it asks for something else than GetCallerIdentity")
	case q.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
		return nil, end, errors.New("it is not signed with AWS4-HMAC-SHA256")
	case len(scope) != 5 || scope[3] != "sts" || scope[4] != "aws4_request":
		return nil, end, errors.New("it is not signed for STS")
	case r.region != "" && scope[2] != r.region:
		return nil, end, fmt.Errorf("it is signed for region %s, and not for %s", scope[2], r.region)
	case q.Get("X-Amz-SignedHeaders") != "host;"+strings.ToLower(awscreds.STSAudienceHeader):
		return nil, end, fmt.Errorf("host and %s have to be signed, and nothing else", awscreds.STSAudienceHeader)
	}
	if end, err = signatureEnd(q); err != nil {
		return nil, end, err
	}
	if !time.Now().Before(end) {
		return nil, end, errors.New("it has expired")
	}
	return q, end, nil
}

// identity is STS's answer.
type identity struct {
	ARN string `xml:"GetCallerIdentityResult>Arn"`
}

// refusal is STS's answer when it does not know who it is.
type refusal struct {
	Code string `xml:"Error>Code"`
}

// ask has STS say whose a token is, and remembers it until the token ends.
func (r *roles) ask(ctx context.Context, q url.Values, digest string, end time.Time) (who string, err error) {
	if who, ok := r.known.get(digest); ok {
		return who, nil
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return "", &uncheckedError{errors.New("too many tokens of STS are to be checked")}
	}
	name, err := r.identify(ctx, q)
	var d *denied
	switch {
	case errors.As(err, &d):
		return "", err
	case err != nil:
		if !errors.Is(context.Cause(ctx), errLoginsOver) {
			r.log.Warn("no role can log in at the moment: STS does not tell whose a token is", "endpoint", r.endpoint.String(), "error", err)
		}
		return "", &uncheckedError{fmt.Errorf("STS: %w", err)}
	}
	if who, err = principal(name); err != nil {
		return "", &denied{err.Error()}
	}
	if latest := time.Now().Add(tokenLife); end.After(latest) {
		end = latest // the local clock is behind
	}
	r.known.put(digest, who, end)
	return who, nil
}

// identify sends the request on to the endpoint, with the audience that has to have been signed.
func (r *roles) identify(ctx context.Context, q url.Values) (name string, err error) {
	req, err := r.request(ctx, q)
	if err != nil {
		return "", errors.New("the request cannot be made")
	}
	res, err := r.client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the URL is the token
		}
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerSize))
	if err != nil {
		return "", err
	}
	if res.StatusCode == http.StatusOK {
		var who identity
		if err := xml.Unmarshal(body, &who); err != nil || who.ARN == "" {
			return "", errors.New("its answer has no ARN")
		}
		return who.ARN, nil
	}
	var why refusal
	if err := xml.Unmarshal(body, &why); err != nil || why.Code == "" {
		return "", fmt.Errorf("it answers %s", res.Status)
	}
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || strings.HasPrefix(why.Code, "Throttling") {
		return "", fmt.Errorf("it answers %s: %s", res.Status, why.Code)
	}
	return "", &denied{"STS refuses the token: " + why.Code}
}

// request is the question to the endpoint, whose parameters read has checked.
func (r *roles) request(ctx context.Context, q url.Values) (*http.Request, error) {
	to := url.URL{Scheme: r.endpoint.Scheme, Host: r.endpoint.Host, Path: "/", RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(awscreds.STSAudienceHeader, r.audience)
	return req, nil
}
