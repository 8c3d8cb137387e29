package fakeaws

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

const (
	// Region is where the secrets are.
	Region = "eu-west-1"
	// Account is whose they are.
	Account = "123456789012"
)

// Server is AWS. It is safe for concurrent use.
type Server struct {
	http  *httptest.Server
	token string // of the container's credentials endpoint

	mu      sync.Mutex // guards what follows
	keys    map[string]Key
	current Key // what the container's endpoint gives out
	secrets map[string]*Secret
	reads   map[string]int // by stage
	asked   map[string]int // requests by action
	weather weather
	tokens  map[string]int // tokens that were checked and found good, by the host that they are for
}

// weather is what is wrong with the server.
type weather struct {
	outage   bool
	throttle int // requests to come that are throttled
	latency  time.Duration
	skew     time.Duration // of its clock
}

// calm is the weather in which nothing is wrong.
var calm weather

// New starts a server that knows one key.
func New() *Server {
	s := &Server{
		token: random(8), keys: make(map[string]Key), secrets: make(map[string]*Secret),
		reads: make(map[string]int), asked: make(map[string]int), tokens: make(map[string]int),
	}
	s.current = s.NewKey(0)
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Start starts a server for a test, and closes it with the test.
func Start(t testing.TB) *Server {
	s := New()
	t.Cleanup(s.Close)
	return s
}

// StartInEnvironment is Start, and sets what the process's environment has to say for the AWS SDK to find the server, and nothing
// else, until the test is over. It cannot be used in tests that run in parallel.
func StartInEnvironment(t *testing.T) *Server {
	t.Helper()
	s := Start(t)
	for name, value := range s.Environment() {
		t.Setenv(name, value)
		if value == "" {
			_ = os.Unsetenv(name) // Setenv puts it back
		}
	}
	return s
}

// Close ends the server.
func (s *Server) Close() { s.http.Close() }

// URL is the server's, for everything but container credentials.
func (s *Server) URL() string { return s.http.URL }

// Environment is what leads the AWS SDK to this server, with credentials from the container's endpoint, and to nothing
// else.
func (s *Server) Environment() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER":   s.URL(),
		"AWS_ENDPOINT_URL_STS":               s.URL(),
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": s.URL() + containerPath,
		"AWS_CONTAINER_AUTHORIZATION_TOKEN":  s.token,
		"AWS_REGION":                         Region,
		"AWS_EC2_METADATA_DISABLED":          "true",
		"AWS_CONFIG_FILE":                    "/nonexistent",
		"AWS_SHARED_CREDENTIALS_FILE":        "/nonexistent",
		"AWS_ACCESS_KEY_ID":                  "",
		"AWS_SECRET_ACCESS_KEY":              "",
		"AWS_SESSION_TOKEN":                  "",
		"AWS_PROFILE":                        "",
	}
}

// Outage is what an outage does to requests.
type Outage string

// The states of the server.
const (
	Down Outage = "down" // every request gets an error of the service
	Up   Outage = "up"
)

// SetOutage begins an outage, or ends it.
func (s *Server) SetOutage(o Outage) { s.locked(func() { s.weather.outage = o == Down }) }

// Throttle lets the next n requests be refused as too many.
func (s *Server) Throttle(n int) { s.locked(func() { s.weather.throttle = n }) }

// SetLatency is how long each answer takes from now on.
func (s *Server) SetLatency(d time.Duration) { s.locked(func() { s.weather.latency = d }) }

// SetSkew puts the server's clock ahead of this machine's, or behind it.
func (s *Server) SetSkew(d time.Duration) { s.locked(func() { s.weather.skew = d }) }

// Reads is how often a version of a secret was given out by its stage, such as AWSCURRENT.
func (s *Server) Reads(stage string) (n int) {
	s.locked(func() { n = s.reads[stage] })
	return n
}

// Asked is how many requests there were for an action, such as GetSecretValue, GetCallerIdentity or GetCredentials,
// whatever became of them.
func (s *Server) Asked(action string) (n int) {
	s.locked(func() { n = s.asked[action] })
	return n
}

func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// now is the server's time; the lock is held.
func (s *Server) now() time.Time { return time.Now().Add(s.weather.skew) }

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// arnOf is the ARN of a secret, with the six characters that AWS puts behind its name.
func arnOf(name string) string {
	return fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", Region, Account, name, random(3))
}
