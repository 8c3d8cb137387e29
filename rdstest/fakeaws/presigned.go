package fakeaws

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxPresigned is how long a presigned request to STS may be good for.
const maxPresigned = 7 * 24 * time.Hour

// caller is the role that asks STS, in a request that is signed now or was signed before.
func (s *Server) caller(r *http.Request, body []byte) (role string, err error) {
	key, err := Key{}, error(nil)
	if r.URL.Query().Get("X-Amz-Signature") != "" {
		key, err = s.authenticatePresigned(r, "sts")
	} else {
		key, err = s.authenticate(r, body, "sts")
	}
	return key.Role, err
}

// authenticatePresigned presigns the request again and compares.
func (s *Server) authenticatePresigned(r *http.Request, service string) (Key, error) {
	q := r.URL.Query()
	refuse := func(code, message string) (Key, error) { return Key{}, &apiError{http.StatusForbidden, code, message} }
	at, err := time.Parse(amzTime, q.Get("X-Amz-Date"))
	seconds, bad := strconv.Atoi(q.Get("X-Amz-Expires"))
	life := time.Duration(seconds) * time.Second
	if err != nil || bad != nil || life <= 0 || life > maxPresigned {
		return refuse("IncompleteSignature", "X-Amz-Date or X-Amz-Expires is missing or out of range")
	}
	s.mu.Lock()
	key, region, err := s.keyOf(q.Get("X-Amz-Credential"), at, service)
	now := s.now()
	s.mu.Unlock()
	switch {
	case errors.Is(err, errExpiredKey):
		return refuse("ExpiredTokenException", err.Error())
	case err != nil:
		return refuse("InvalidClientTokenId", err.Error())
	case now.After(at.Add(life)) || at.Sub(now) > clockTolerance:
		return refuse("SignatureDoesNotMatch", "Signature expired or not yet current: "+q.Get("X-Amz-Date"))
	case q.Get("X-Amz-Security-Token") != key.SessionToken:
		return refuse("InvalidClientTokenId", errUnknownKey.Error())
	}
	plain := make(url.Values)
	for name, values := range q {
		switch name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token":
		default:
			plain[name] = values
		}
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.Path+"?"+plain.Encode(), nil)
	if err != nil {
		return Key{}, err
	}
	for _, name := range strings.Split(q.Get("X-Amz-SignedHeaders"), ";") {
		if name != "host" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	signed, _, err := v4.NewSigner().PresignHTTP(r.Context(), key.aws(), again, hashOf(nil), service, region, at)
	if err != nil {
		return Key{}, err
	}
	if u, err := url.Parse(signed); err != nil || u.Query().Get("X-Amz-Signature") != q.Get("X-Amz-Signature") {
		return refuse("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	}
	return key, nil
}
