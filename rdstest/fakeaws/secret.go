package fakeaws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// The stages that mean something to a rotation.
const (
	Current  = "AWSCURRENT"
	Pending  = "AWSPENDING"
	Previous = "AWSPREVIOUS"
)

// Secret is one secret with its versions.
type Secret struct {
	server    *Server
	name, arn string

	// The server's lock guards these.
	values map[string]value  // by version
	stages map[string]string // version by stage
	denied *apiError
}

type value struct {
	text   string
	binary []byte
}

// CreateSecret makes a secret whose current version is text.
func (s *Server) CreateSecret(name, text string) *Secret {
	sec := &Secret{server: s, name: name, arn: arnOf(name), values: make(map[string]value), stages: make(map[string]string)}
	s.locked(func() { s.secrets[name], s.secrets[sec.arn] = sec, sec })
	sec.Put(text)
	return sec
}

// ARN is the secret's.
func (s *Secret) ARN() string { return s.arn }

// Put makes text the current version, and the one before it the previous.
func (s *Secret) Put(text string) { s.move(s.add(value{text: text})) }

// PutBinary is Put for bytes.
func (s *Secret) PutBinary(b []byte) { s.move(s.add(value{binary: b})) }

// Refuse lets every reading of the secret fail with this error of AWS; an empty code ends that.
func (s *Secret) Refuse(code, message string) {
	s.server.locked(func() {
		if s.denied = nil; code != "" {
			s.denied = &apiError{http.StatusBadRequest, code, message}
		}
	})
}

// Stage is the text of the version that has the stage.
func (s *Secret) Stage(stage string) (text string) {
	s.server.locked(func() { text = s.values[s.stages[stage]].text })
	return text
}

func (s *Secret) add(v value) (version string) {
	version = random(16)
	s.server.locked(func() { s.values[version] = v })
	return version
}

// move makes a version the current one.
func (s *Secret) move(version string) {
	s.server.locked(func() {
		if old := s.stages[Current]; old != "" && old != version {
			s.stages[Previous] = old
		}
		s.stages[Current] = version
	})
}

// Rotation is how a rotation function works: a new version is made and pending, the database gets it, and it becomes
// current.
type Rotation struct {
	// Next makes the new user and password from the current version's. Two users that take turns give the other user.
	Next func(user, password string) (nextUser, nextPassword string)
	// Set lets the database know.
	Set func(ctx context.Context, user, password string) error
	// Between, if not nil, is called before Set and after it, while the version is pending.
	Between func()
}

// Rotate rotates the secret.
func (s *Secret) Rotate(ctx context.Context, r Rotation) error {
	fields := make(map[string]any)
	if err := json.Unmarshal([]byte(s.Stage(Current)), &fields); err != nil {
		return fmt.Errorf("fakeaws: rotate %s: the current version is no JSON: %w", s.name, err)
	}
	user, password := r.Next(fmt.Sprint(fields["username"]), fmt.Sprint(fields["password"]))
	next := maps.Clone(fields)
	next["username"], next["password"] = user, password
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("fakeaws: rotate %s: %w", s.name, err)
	}
	version := s.add(value{text: string(text)})
	s.server.locked(func() { s.stages[Pending] = version })
	between := r.Between
	if between == nil {
		between = func() {}
	}
	between()
	if err := r.Set(ctx, user, password); err != nil {
		return fmt.Errorf("fakeaws: rotate %s: %w", s.name, err)
	}
	between()
	s.move(version)
	s.server.locked(func() { delete(s.stages, Pending) })
	return nil
}

// getSecretValue answers the request of that name.
func (s *Server) getSecretValue(body []byte) (any, error) {
	var in struct{ SecretId, VersionStage, VersionId string }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, &apiError{http.StatusBadRequest, "SerializationException", "not JSON"}
	}
	if in.VersionStage == "" {
		in.VersionStage = Current
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.secrets[in.SecretId]
	if sec == nil {
		return nil, &apiError{http.StatusBadRequest, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	}
	if sec.denied != nil {
		return nil, sec.denied
	}
	version, ok := sec.stages[in.VersionStage]
	if !ok {
		return nil, &apiError{http.StatusBadRequest, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: " + in.VersionStage}
	}
	s.reads[in.VersionStage]++
	v := sec.values[version]
	answer := map[string]any{
		"ARN": sec.arn, "Name": sec.name, "VersionId": version, "VersionStages": []string{in.VersionStage},
		"CreatedDate": float64(time.Now().Unix()),
	}
	if v.binary != nil {
		answer["SecretBinary"] = v.binary
	} else {
		answer["SecretString"] = v.text
	}
	return answer, nil
}
