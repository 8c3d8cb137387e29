package fakeaws

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// containerPath is where a container finds its credentials.
const containerPath = "/container/credentials"

// targetPrefix begins the header that names an action of Secrets Manager.
const targetPrefix = "secretsmanager."

// apiError is an error as AWS answers it.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	action := actionOf(r, body)
	s.mu.Lock()
	s.asked[action]++
	weather := s.weather
	if action == "GetCredentials" {
		weather = calm // it is in the same machine
	}
	throttled := weather.throttle > 0
	if throttled {
		s.weather.throttle--
	}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	s.mu.Unlock()
	if weather.latency > 0 {
		select {
		case <-time.After(weather.latency):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case weather.outage:
		fail(w, action, &apiError{http.StatusInternalServerError, "InternalServiceError", "An error occurred on the server side."})
	case throttled:
		fail(w, action, &apiError{http.StatusBadRequest, "ThrottlingException", "Rate exceeded"})
	case action == "GetCredentials":
		s.giveCredentials(w, r)
	case action == "GetCallerIdentity":
		role, err := s.caller(r, body)
		if err != nil {
			fail(w, action, err)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:sts::%s:assumed-role/%s/session</Arn><UserId>AROA:session</UserId><Account>%s</Account>`+
			`</GetCallerIdentityResult></GetCallerIdentityResponse>`, Account, role, Account)
	case action == "GetSecretValue":
		if _, err := s.authenticate(r, body, "secretsmanager"); err != nil {
			fail(w, action, err)
			return
		}
		answer, err := s.getSecretValue(body)
		if err != nil {
			fail(w, action, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(answer)
	default:
		fail(w, action, &apiError{http.StatusBadRequest, "UnknownOperationException", ""})
	}
}

// actionOf is what a request asks for.
func actionOf(r *http.Request, body []byte) string {
	if r.URL.Path == containerPath {
		return "GetCredentials"
	}
	if target, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix); ok && r.Method == http.MethodPost {
		return target
	}
	if r.Method == http.MethodGet {
		return r.URL.Query().Get("Action")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return form.Get("Action")
}

func fail(w http.ResponseWriter, action string, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{http.StatusBadRequest, "InternalFailure", err.Error()}
	}
	if action == "GetCallerIdentity" {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(e.status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, e.code, e.message)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": e.code, "message": e.message})
}

// authenticate signs the request again and compares. It tells whose key it was.
func (s *Server) authenticate(r *http.Request, body []byte, service string) (Key, error) {
	fields := make(map[string]string)
	given := r.Header.Get("Authorization")
	for _, f := range strings.Split(strings.TrimPrefix(given, "AWS4-HMAC-SHA256 "), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[name] = value
	}
	at, err := time.Parse(amzTime, r.Header.Get("X-Amz-Date"))
	if err != nil || fields["Signature"] == "" {
		return Key{}, &apiError{http.StatusForbidden, "MissingAuthenticationToken", "Missing Authentication Token"}
	}
	s.mu.Lock()
	key, region, err := s.keyOf(fields["Credential"], at, service)
	age := s.now().Sub(at)
	s.mu.Unlock()
	switch {
	case errors.Is(err, errExpiredKey):
		return Key{}, &apiError{http.StatusForbidden, "ExpiredTokenException", err.Error()}
	case err != nil:
		return Key{}, &apiError{http.StatusForbidden, "UnrecognizedClientException", err.Error()}
	case age.Abs() > clockTolerance:
		return Key{}, &apiError{http.StatusForbidden, "InvalidSignatureException", "Signature expired: " + at.Format(amzTime)}
	case r.Header.Get("X-Amz-Security-Token") != key.SessionToken:
		return Key{}, &apiError{http.StatusForbidden, "UnrecognizedClientException", errUnknownKey.Error()}
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return Key{}, err
	}
	for _, name := range strings.Split(fields["SignedHeaders"], ";") {
		if name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), key.aws(), again, hashOf(body), service, region, at); err != nil {
		return Key{}, err
	}
	if again.Header.Get("Authorization") != given {
		return Key{}, &apiError{http.StatusForbidden, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided."}
	}
	return key, nil
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// giveCredentials is what a container asks.
func (s *Server) giveCredentials(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != s.token {
		fail(w, "", &apiError{http.StatusUnauthorized, "Unauthorized", "the authorization token is not the container's"})
		return
	}
	s.mu.Lock()
	k := s.current
	s.mu.Unlock()
	answer := map[string]any{"AccessKeyId": k.ID, "SecretAccessKey": k.Secret, "Token": k.SessionToken}
	if !k.Expires.IsZero() {
		answer["Expiration"] = k.Expires.UTC().Format(time.RFC3339)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
