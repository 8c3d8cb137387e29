package pooler

import (
	"context"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestWhatWasRecentIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecent[string, int](2)
		for i, key := range []string{"a", "b"} {
			r.put(key, i, time.Now().Add(time.Minute))
		}
		if _, ok := r.get("a"); !ok {
			t.Error("a is gone")
		}
		r.put("c", 2, time.Now().Add(time.Hour))
		if _, ok := r.get("b"); ok || len(r.byKey) != 2 || r.order.Len() != 2 {
			t.Error("what was not asked for the longest has stayed")
		}
		time.Sleep(time.Minute)
		if _, ok := r.get("a"); ok {
			t.Error("a has stayed beyond its end")
		}
		if v, ok := r.get("c"); !ok || v != 2 {
			t.Error("c is gone")
		}
		r.put("c", 3, time.Now().Add(time.Hour))
		if v, _ := r.get("c"); v != 3 || len(r.byKey) != 1 || r.order.Len() != 1 {
			t.Error("c is another one, or there twice")
		}
	})
}

func TestASignatureIsNotGoodForLongerThanAWSTakesIt(t *testing.T) {
	for name, c := range map[string]struct {
		date, expires string
		good          bool
	}{
		"a quarter of an hour": {"20260102T030405Z", "900", true},
		"longer":               {"20260102T030405Z", "901", false},
		"no time at all":       {"20260102T030405Z", "0", false},
		"backwards":            {"20260102T030405Z", "-1", false},
		"for ever":             {"20260102T030405Z", "", false},
		"more than there is":   {"20260102T030405Z", "99999999999999999999", false},
		"from nowhen":          {"", "900", false},
	} {
		end, err := signatureEnd(url.Values{"X-Amz-Date": {c.date}, "X-Amz-Expires": {c.expires}})
		if (err == nil) != c.good || c.good && !end.Equal(time.Date(2026, 1, 2, 3, 19, 5, 0, time.UTC)) {
			t.Errorf("%s: %v, %v", name, end, err)
		}
	}
}

func TestTheProofsOfAUserArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTokens(new(pgx.ConnConfig), []byte("key"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		turns := 0
		for {
			if _, ok := k.reserve(ctx, "alice"); !ok {
				break
			}
			turns++
		}
		if want := int((proofBurst + time.Second) / proofGap); turns != want+1 {
			t.Errorf("%d proofs at once, want %d", turns, want+1)
		}
		if wait, ok := k.reserve(ctx, "bob"); !ok || wait != 0 {
			t.Errorf("another user waits %v", wait)
		}
	})
}
