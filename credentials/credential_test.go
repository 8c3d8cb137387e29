package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNoFormatShowsASecret(t *testing.T) {
	const password = "Tr0ub4dor"
	c := &Credential{User: "app", Password: NewSecret(password), Label: "static"}
	var out bytes.Buffer
	for _, v := range []any{c, *c, c.Password, []*Credential{c}, []Credential{*c}, map[Secret]Secret{NewSecret(password): NewSecret(password)}, Refusal{Credential: c}, &struct{ C **Credential }{&c}, struct{ P any }{c.Password}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q is in\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), mask) {
		t.Error("nothing was written at all")
	}
}

func TestAChainPassesOnFromWhatWasRefused(t *testing.T) {
	a, b := Static(Credential{Password: NewSecret("a")}), Static(Credential{Password: NewSecret("b")})
	broken := Func(func(context.Context, Target, []Refusal) (*Credential, error) { return nil, errBroken })
	stubborn := Func(func(context.Context, Target, []Refusal) (*Credential, error) {
		return &Credential{Password: NewSecret("a")}, nil
	})
	p := Chain(broken, a, stubborn, b)
	var refused []Refusal
	for _, want := range []string{"a", "b"} {
		c, err := p.Credential(t.Context(), Target{}, refused)
		if err != nil || c.Password.Reveal() != want {
			t.Fatalf("%v, want %s", err, want)
		}
		refused = append(refused, Refusal{Credential: c})
	}
	if _, err := p.Credential(t.Context(), Target{}, refused); !errors.Is(err, ErrExhausted) || !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	if _, err := Chain().Credential(t.Context(), Target{}, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("%v", err)
	}
}

func TestLoginsToAHostAreSmoothed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Paced(Static(Credential{}), 100)
		login := func(host string) {
			if _, err := p.Credential(t.Context(), Target{Host: host}, nil); err != nil {
				t.Fatal(err)
			}
		}
		var times []time.Duration
		begin := time.Now()
		for range 1000 {
			login("a")
			times = append(times, time.Since(begin))
		}
		for i := range times {
			n := 1
			for ; i+n < len(times) && times[i+n]-times[i] < time.Second; n++ {
			}
			if n > 126 {
				t.Fatalf("%d logins within a second", n)
			}
		}
		if last := times[len(times)-1]; last > 10*time.Second {
			t.Errorf("1000 logins took %v", last)
		}
		begin = time.Now()
		login("b")
		if d := time.Since(begin); d != 0 {
			t.Errorf("another host waits %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var u *UnavailableError
		if _, err := p.Credential(ctx, Target{Host: "a"}, nil); !errors.As(err, &u) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
