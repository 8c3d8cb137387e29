package topology

import (
	"testing"
	"time"
)

// recovered says where a sighting's recovery ended.
func (s sighting) recovered(end uint64) sighting {
	s.report.RecoveryEnd, s.report.RecoveryEndKnown = end, true
	return s
}

// replica says in which boot the instance was last seen as a replica.
func (s sighting) replica(boot string) sighting { s.asReader, s.readerBoot = s.round, boot; return s }

func TestHowAReignBegan(t *testing.T) {
	first := says("a", "10.20", false, 3).recovered(500)
	b := says("b", "11.21", false, 4).replica("11.21").recovered(900)
	for _, tc := range []struct {
		name string
		seen []sighting // proofs in their order
		want Reign
	}{
		{"the first that is seen", []sighting{first}, Reign{Timeline: 3, Boot: "10.20"}},
		{"it goes on", []sighting{first, first}, Reign{Timeline: 3, Boot: "10.20"}},
		{"a promotion", []sighting{first, b}, Reign{Timeline: 4, Boot: "11.21", Origin: OriginPromoted, Before: "10.20", End: 900}},
		{"a promotion, seen again", []sighting{first, b, says("b", "11.21", false, 4)}, Reign{Timeline: 4, Boot: "11.21", Origin: OriginPromoted, Before: "10.20", End: 900}},
		{"a promotion whose end is told later", []sighting{first, says("b", "11.21", false, 4).replica("11.21"), b}, Reign{Timeline: 4, Boot: "11.21", Origin: OriginPromoted, Before: "10.20", End: 900}},
		{"a promotion whose end is not told", []sighting{first, says("b", "11.21", false, 4).replica("11.21")}, Reign{Timeline: 4, Boot: "11.21"}},
		{"a new writer never seen as a replica", []sighting{first, says("b", "11.21", false, 4).recovered(900)}, Reign{Timeline: 4, Boot: "11.21"}},
		{"seen as a replica before its latest start", []sighting{first, says("b", "11.22", false, 4).replica("11.21").recovered(900)}, Reign{Timeline: 4, Boot: "11.22"}},
		{"a promoted server that crashed", []sighting{first, b, says("b", "11.25", false, 4).replica("11.21").recovered(950)}, Reign{Timeline: 4, Boot: "11.25", Origin: OriginRecovered, Before: "11.21", End: 950}},
		{"a second promotion", []sighting{first, b, says("c", "12.22", false, 5).replica("12.22").recovered(1200)}, Reign{Timeline: 5, Boot: "12.22", Origin: OriginPromoted, Before: "11.21", End: 1200}},
		{"a crash", []sighting{first, says("a", "10.25", false, 3).recovered(700)}, Reign{Timeline: 3, Boot: "10.25", Origin: OriginRecovered, Before: "10.20", End: 700}},
		{"a crash after a start without a recovery", []sighting{says("a", "10.20", false, 3).recovered(0), says("a", "10.25", false, 3).recovered(700)}, Reign{Timeline: 3, Boot: "10.25", Origin: OriginRecovered, Before: "10.20", End: 700}},
		{"a restart", []sighting{first, says("a", "15.20", false, 3).recovered(0)}, Reign{Timeline: 3, Boot: "15.20", Origin: OriginRestarted, Before: "10.20"}},
		{"a reset of statistics", []sighting{first, says("a", "10.25", false, 3).recovered(500)}, Reign{Timeline: 3, Boot: "10.25", Origin: OriginRestarted, Before: "10.20"}},
		{"a crash, but the end before it is not known", []sighting{says("a", "10.20", false, 3), says("a", "10.25", false, 3).recovered(700)}, Reign{Timeline: 3, Boot: "10.25"}},
		{"a crash whose end is not told", []sighting{first, says("a", "10.25", false, 3)}, Reign{Timeline: 3, Boot: "10.25"}},
		{"the same name on another timeline", []sighting{first, says("a", "11.21", false, 4).recovered(900)}, Reign{Timeline: 4, Boot: "11.21"}},
		{"the timelines are not known", []sighting{says("a", "10.20", false, 0).recovered(500), says("a", "10.25", false, 0).recovered(700)}, Reign{Boot: "10.25"}},
		{"half a boot", []sighting{says("a", "10.", false, 3).recovered(500), says("b", "11.", false, 4).replica("11.").recovered(900)}, Reign{Timeline: 4, Boot: "11."}},
		{"half a boot before", []sighting{says("a", "10.", false, 3).recovered(500), b}, Reign{Timeline: 4, Boot: "11.21"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m memory
			for _, s := range tc.seen {
				seen := []sighting{s}
				m.learn(decide(&m, seen, true), seen)
			}
			tc.want.SystemID = "sys"
			if got := m.observed(); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// dotted gives the servers boots of two parts and what a writer tells of its recovery.
func dotted(w *world) *world {
	for i := range len(w.servers) {
		w.change(i+1, func(s *server) {
			s.Boot = "1" + string(rune('0'+i)) + ".2"
			s.RecoveryEndKnown = true
		})
	}
	return w
}

func TestAReignIsThatOfItsEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := dotted(plain(3))
		c := watch(t, w, nil)
		_, s := pick(t, c, WantWriter, 0, time.Second)
		if s.Reign != (Reign{SystemID: "sys", Timeline: 1, Boot: "10.2"}) {
			t.Fatalf("%+v", s.Reign)
		}
		time.Sleep(time.Second)
		w.crash(1)
		w.change(2, func(s *server) { s.RecoveryEnd = 900 })
		w.promote(2, 2)
		ticket := c.Suspect(w.id(1), errGone)
		_, s = pick(t, c, WantWriter, ticket, 5*time.Second)
		want := Reign{SystemID: "sys", Timeline: 2, Boot: "11.2", Origin: OriginPromoted, Before: "10.2", End: 900}
		if s.Epoch != 2 || s.Reign != want {
			t.Fatalf("%+v, want %+v", s.Reign, want)
		}
		time.Sleep(5 * time.Minute)
		if s = c.Snapshot(); s.Epoch != 2 || s.Reign != want {
			t.Errorf("later: %+v", s.Reign)
		}
	})
}

func TestAReignThatBeganUnwatchedIsNotKnown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := dotted(plain(1))
		c, err := New(Config{Name: "app", Seeds: w.seeds()})
		if err != nil {
			t.Fatal(err)
		}
		release := c.Attach(w)
		pick(t, c, WantWriter, 0, time.Second)
		w.change(1, func(s *server) { s.RecoveryEnd = 700; s.run++; s.Boot = "10.3" })
		_, s := pick(t, c, WantWriter, c.Suspect(w.id(1), errGone), 5*time.Second)
		known := Reign{SystemID: "sys", Timeline: 1, Boot: "10.3", Origin: OriginRecovered, Before: "10.2", End: 700}
		if s.Reign != known {
			t.Fatalf("%+v, want %+v", s.Reign, known)
		}

		release()
		release = c.Attach(w)
		if _, s = pick(t, c, WantWriter, c.Now(), 5*time.Second); s.Epoch != 2 || s.Reign != known {
			t.Errorf("the same run, watched again: %+v", s.Reign)
		}

		release()
		w.change(1, func(s *server) { s.RecoveryEnd = 800; s.run++; s.Boot = "10.4" })
		release = c.Attach(w)
		if _, s = pick(t, c, WantWriter, c.Now(), 5*time.Second); s.Epoch != 3 || s.Reign != (Reign{SystemID: "sys", Timeline: 1, Boot: "10.4"}) {
			t.Errorf("another run, begun unwatched: %+v", s.Reign)
		}
		w.change(1, func(s *server) { s.RecoveryEnd = 900; s.run++; s.Boot = "10.5" })
		_, s = pick(t, c, WantWriter, c.Suspect(w.id(1), errGone), 5*time.Second)
		if s.Reign.Origin != OriginRecovered || s.Reign.Before != "10.4" {
			t.Errorf("the next, watched again: %+v", s.Reign)
		}
		release()
	})
}

func TestWhereARecoveryEndedIsAsked(t *testing.T) {
	for text, want := range map[string]struct {
		end   uint64
		known bool
	}{
		"none": {0, true}, "16/B374D848": {0x16B374D848, true}, "null": {0, false}, "0/0": {0, false}, "nonsense": {0, false},
	} {
		a := plainAnswers()
		a["pg_is_in_recovery"] = []string{"f,off,0,0000002A000000000000000F," + text}
		f := startFake(t, a)
		s, err := f.open(t, KindAuto)
		if err != nil {
			t.Fatal(err)
		}
		if r := probeOnce(t, s); r.RecoveryEnd != want.end || r.RecoveryEndKnown != want.known {
			t.Errorf("%s: %x, %v", text, r.RecoveryEnd, r.RecoveryEndKnown)
		}
		f.set("pg_is_in_recovery", "t,off,0,null,16/B374D848")
		if r := probeOnce(t, s); r.RecoveryEndKnown {
			t.Errorf("a replica's is taken")
		}
	}
}
