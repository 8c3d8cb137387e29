package pooler

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// iterations is how often a password is hashed, PostgreSQL's own number.
const iterations = 4096

// The bounds of a verifier. PostgreSQL makes salts of 16 bytes and counts iterations in scram_iterations, 4096 by default; a client has to
// do as many.
const (
	maxIterations = 100_000
	maxSalt       = 256
)

// errNoPassword refuses what a login without a password would match.
var errNoPassword = errors.New("it is empty, or the verifier of an empty password: nobody logs in with that")

// isVerifier reports whether PostgreSQL would take a text for something that it keeps of a password, and not for a password.
func isVerifier(text string) bool { return isMD5(text) || strings.HasPrefix(text, "SCRAM-SHA-") }

func isMD5(text string) bool {
	return len(text) == len("md5")+32 && strings.HasPrefix(text, "md5") && strings.Trim(text[3:], "0123456789abcdef") == ""
}

// checkPassword refuses what is neither a password nor a verifier that can be used. No error contains any of it.
func checkPassword(text string) error {
	if text == "" {
		return errNoPassword
	}
	if !isVerifier(text) {
		return nil
	}
	_, err := parseVerifier(text)
	return err
}

// verifier returns what SCRAM needs of a password, or of what PostgreSQL keeps of one. A password is hashed with the fresh salt.
func verifier(password string, fresh []byte) (c scram.StoredCredentials, err error) {
	switch {
	case password == "":
		return c, errNoPassword
	case isVerifier(password):
		return parseVerifier(password)
	}
	return derive(password, scram.KeyFactors{Salt: string(fresh), Iters: iterations})
}

// parseVerifier reads what PostgreSQL keeps of a password, and nothing else. No error contains any of it.
func parseVerifier(text string) (c scram.StoredCredentials, err error) {
	if isMD5(text) {
		return c, errors.New("it is kept as MD5: set password_encryption = 'scram-sha-256' on the server, and the password anew")
	}
	malformed := errors.New("it is a malformed SCRAM verifier: SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key> is expected")
	rest, ok := strings.CutPrefix(text, mechanism+"$")
	factors, keys, ok2 := strings.Cut(rest, "$")
	n, salt, ok3 := strings.Cut(factors, ":")
	stored, server, ok4 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 || !ok4 {
		return c, malformed
	}
	count, err := strconv.ParseUint(n, 10, 64)
	switch {
	case err != nil || count == 0:
		return c, malformed
	case count > maxIterations:
		return c, fmt.Errorf("its SCRAM verifier has %d iterations: %d at most are allowed; lower scram_iterations, and set the password anew", count, maxIterations)
	}
	c.Iters = int(count)
	for _, f := range []struct {
		text     string
		min, max int
		to       *[]byte
	}{{salt, 1, maxSalt, nil}, {stored, sha256.Size, sha256.Size, &c.StoredKey}, {server, sha256.Size, sha256.Size, &c.ServerKey}} {
		b, err := base64.StdEncoding.Strict().DecodeString(f.text)
		if err != nil || len(b) < f.min || len(b) > f.max || strings.ContainsAny(f.text, "\r\n") { // which are passed over
			return scram.StoredCredentials{}, malformed
		}
		if f.to == nil {
			c.Salt = string(b)
		} else {
			*f.to = b
		}
	}
	if is("", c) {
		return scram.StoredCredentials{}, errNoPassword
	}
	return c, nil
}

// derive hashes a password.
func derive(password string, how scram.KeyFactors) (c scram.StoredCredentials, err error) {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil && prepared != "" {
		password = prepared // others are used as they are, as PostgreSQL does
	}
	salted, err := pbkdf2.Key(sha256.New, password, []byte(how.Salt), how.Iters, sha256.Size)
	if err != nil {
		return c, fmt.Errorf("hash the password: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	c.KeyFactors = how
	c.StoredKey, c.ServerKey = stored[:], mac(salted, "Server Key")
	return c, nil
}

// is reports whether a verifier is that of a password.
func is(password string, c scram.StoredCredentials) bool {
	got, err := derive(password, c.KeyFactors)
	return err == nil && hmac.Equal(got.StoredKey, c.StoredKey)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum(nil)
}
