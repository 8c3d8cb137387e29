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

// verifier makes of a password, or of what PostgreSQL keeps of one, what SCRAM needs. A password is hashed with the fresh salt.
func verifier(password string, fresh []byte) (c scram.StoredCredentials, err error) {
	if !strings.HasPrefix(password, mechanism+"$") {
		return derive(password, scram.KeyFactors{Salt: string(fresh), Iters: iterations})
	}
	malformed := errors.New("its SCRAM verifier is malformed: SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key> is expected")
	parts := strings.Split(strings.TrimPrefix(password, mechanism+"$"), "$")
	if len(parts) != 2 {
		return c, malformed
	}
	n, salt, ok := strings.Cut(parts[0], ":")
	stored, server, ok2 := strings.Cut(parts[1], ":")
	if !ok || !ok2 {
		return c, malformed
	}
	if c.Iters, err = strconv.Atoi(n); err != nil || c.Iters < 1 {
		return c, malformed
	}
	decode := func(s string) string {
		b, bad := base64.StdEncoding.DecodeString(s)
		if bad != nil || len(b) == 0 {
			err = malformed
		}
		return string(b)
	}
	c.Salt, c.StoredKey, c.ServerKey = decode(salt), []byte(decode(stored)), []byte(decode(server))
	return c, err
}

// derive hashes a password.
func derive(password string, how scram.KeyFactors) (c scram.StoredCredentials, err error) {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
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
