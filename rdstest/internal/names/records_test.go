package names

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestPendingChangesComeWhenTheyAreDue(t *testing.T) {
	old, next := netip.MustParseAddr("127.3.1.1"), netip.MustParseAddr("127.3.1.2")
	last := netip.MustParseAddr("127.3.1.3")
	const name = "writer.example."
	type change struct {
		after time.Duration
		addr  netip.Addr
	}
	cases := map[string]struct {
		changes []change // one a second
		want    []netip.Addr
	}{
		"the old answer stays": {
			[]change{{0, old}, {3 * time.Second, next}},
			[]netip.Addr{old, old, old, old, next, next},
		},
		"a later change takes the place of a pending one": {
			[]change{{0, old}, {3 * time.Second, next}, {time.Second, last}},
			[]netip.Addr{old, old, old, last, last, last},
		},
		"a change at once takes the place of a pending one": {
			[]change{{0, old}, {2 * time.Second, next}, {0, last}},
			[]netip.Addr{old, old, last, last, last, last},
		},
		"a name that was not known": {
			[]change{{2 * time.Second, next}},
			[]netip.Addr{{}, {}, next, next},
		},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r records
				defer r.close()
				for second, want := range c.want {
					if second < len(c.changes) {
						change := c.changes[second]
						r.set(change.after, name, []netip.Addr{change.addr})
					}
					if got, _ := r.next(name); got != want {
						t.Errorf("after %d s: %v, want %v", second, got, want)
					}
					time.Sleep(time.Second)
					synctest.Wait()
				}
			})
		})
	}
}
