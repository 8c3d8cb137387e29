package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestTheDoctorsFindingsAreItsExitCode(t *testing.T) {
	const nobody = "postgres://app:s3cr3t@127.0.0.1:1/app?sslmode=disable"
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"doctor", nobody}, exitFound, "start the server"},
		{[]string{"doctor", "--json", nobody}, exitFound, `"healthy": false`},
		{[]string{"doctor", "topology=x"}, exitFound, ""},
		{[]string{"doctor"}, exitUsage, ""},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), c.args, console{in: strings.NewReader(""), out: &out, err: &errs})
		if code != c.code || !strings.Contains(out.String(), c.out) {
			t.Errorf("%q: exit code %d, want %d\n%s%s", c.args, code, c.code, &out, &errs)
		}
		if strings.Contains(out.String()+errs.String(), "s3cr3t") {
			t.Errorf("%q: the password is in\n%s%s", c.args, &out, &errs)
		}
		if c.code == exitFound && out.Len() == 0 && errs.Len() == 0 {
			t.Errorf("%q: not a word", c.args)
		}
		if len(c.args) == 3 && !json.Valid(out.Bytes()) {
			t.Errorf("%q: no JSON:\n%s", c.args, &out)
		}
	}
}
