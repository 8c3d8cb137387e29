package topology

import "testing"

// says makes a sighting of a replicated server.
func says(id, boot string, recovery bool, timeline uint32) sighting {
	return sighting{id: id, round: 100, report: Report{Kind: KindReplication, Boot: boot, InRecovery: recovery, Timeline: timeline, SystemID: "sys"}}
}

// saysAurora makes a sighting of an Aurora instance.
func saysAurora(id, boot string, recovery bool, writer string) sighting {
	return sighting{id: id, round: 100, report: Report{Kind: KindAurora, ID: id, Boot: boot, InRecovery: recovery, WriterID: writer}}
}

func (s sighting) readerAt(round uint64) sighting { s.asReader = round; return s }

func (s sighting) system(id string) sighting { s.report.SystemID = id; return s }

func TestDecide(t *testing.T) {
	// In all cases with a history, "a" is the writer of epoch 2 in its boot "a2" since probe 50, after "b" in its boot "b1".
	reigning := memory{epoch: 2, reign: reign{id: "a", boot: "a2", timeline: 2, since: 50}, past: map[string]string{"b": "b1"}, systemID: "sys", top: 2}
	aurora := memory{epoch: 2, reign: reign{id: "a", boot: "a2", since: 50}, past: map[string]string{"b": "b1"}}
	for _, tc := range []struct {
		name   string
		mem    memory
		seen   []sighting
		writer string // "" none
		fresh  bool   // a new epoch
		split  bool

		unsettled bool // nothing was heard of the current writer yet
	}{
		{"nobody answers", memory{}, nil, "", false, false, false},
		{"only readers", memory{}, []sighting{says("a", "1", true, 0)}, "", false, false, false},
		{"the one out of recovery", memory{}, []sighting{says("a", "1", true, 0), says("b", "2", false, 1)}, "b", true, false, false},
		{"the writer again", reigning, []sighting{says("a", "a2", false, 2)}, "a", false, false, false},
		{"the writer restarted", reigning, []sighting{says("a", "a3", false, 2)}, "a", true, false, false},
		{"a promoted reader", reigning, []sighting{says("c", "1", false, 3)}, "c", true, false, false},
		{"a promoted reader and the old writer", reigning, []sighting{says("a", "a2", false, 2), says("c", "1", false, 3)}, "c", true, false, false},
		{"the higher timeline at first sight", memory{}, []sighting{says("a", "1", false, 9), says("b", "2", false, 10), says("c", "3", false, 8)}, "b", true, false, false},
		{"same timeline, two claims", memory{}, []sighting{says("a", "1", false, 9), says("b", "2", false, 9)}, "", false, true, false},
		{"same timeline against the incumbent", reigning, []sighting{says("a", "a2", false, 2), says("c", "1", false, 2)}, "", false, true, false},
		{"a tie among losers still is one", memory{}, []sighting{says("a", "1", false, 9), says("b", "2", false, 9), says("c", "3", false, 8)}, "", false, true, false},
		{"unknown timelines, one was a reader since", reigning, []sighting{says("a", "a2", false, 0), says("c", "1", false, 0).readerAt(60)}, "c", true, false, false},
		{"unknown timelines, it was a reader before", reigning, []sighting{says("c", "1", false, 0).readerAt(40), says("a", "a2", false, 0)}, "", false, true, false},
		{"one server by two names", memory{}, []sighting{says("a", "1", false, 9), says("b", "1", false, 9)}, "a", true, false, false},
		{"one server by two names, the incumbent's stays", reigning, []sighting{says("x", "a2", false, 2), says("a", "a2", false, 2)}, "a", false, false, false},
		{"an old writer thawed, alone", reigning, []sighting{says("b", "b1", false, 1)}, "", false, false, false},
		{"an old writer thawed, timelines unknown", reigning, []sighting{says("b", "b1", false, 0)}, "", false, false, false},
		{"an old writer restarted on its old timeline", reigning, []sighting{says("b", "b2", false, 1)}, "", false, false, false},
		{"an old writer promoted again", reigning, []sighting{says("b", "b2", false, 3)}, "b", true, false, false},
		{"another system", reigning, []sighting{says("c", "1", false, 3).system("other")}, "", false, false, false},
		{"another system beside the writer", reigning, []sighting{says("c", "1", false, 3).system("other"), says("a", "a2", false, 2)}, "a", false, false, false},
		{"aurora: names itself", memory{}, []sighting{saysAurora("a", "1", false, "a"), saysAurora("b", "2", true, "a")}, "a", true, false, false},
		{"aurora: named by others only", memory{}, []sighting{saysAurora("b", "2", true, "a")}, "", false, false, false},
		{"aurora: out of recovery but names another", memory{}, []sighting{saysAurora("b", "2", false, "a")}, "", false, false, false},
		{"aurora: names itself but in recovery", memory{}, []sighting{saysAurora("b", "2", true, "b")}, "", false, false, false},
		{"aurora: a reader became the writer", aurora, []sighting{saysAurora("a", "a2", false, "a"), saysAurora("c", "1", false, "c").readerAt(60)}, "c", true, false, false},
		{"aurora: it does against all votes", aurora, []sighting{saysAurora("a", "a2", false, "a"), saysAurora("c", "1", false, "c").readerAt(60), saysAurora("d", "1", true, "a"), saysAurora("e", "1", true, "a")}, "c", true, false, false},
		{"aurora: the votes decide", memory{}, []sighting{saysAurora("a", "1", false, "a"), saysAurora("c", "1c", false, "c"), saysAurora("d", "1", true, "c")}, "c", true, false, false},
		{"aurora: no votes, the incumbent", aurora, []sighting{saysAurora("c", "1", false, "c"), saysAurora("a", "a2", false, "a")}, "a", false, false, false},
		{"aurora: no votes, no history", memory{}, []sighting{saysAurora("c", "1", false, "c"), saysAurora("a", "a2", false, "a")}, "", false, true, false},
		{"aurora: an old writer thawed", aurora, []sighting{saysAurora("b", "b1", false, "b")}, "", false, false, false},
		{"aurora: an old writer thawed beside the writer", aurora, []sighting{saysAurora("b", "b1", false, "b"), saysAurora("a", "a2", false, "a")}, "a", false, false, false},
		{"aurora: an old writer is the writer again", aurora, []sighting{saysAurora("b", "b2", false, "b").readerAt(70), saysAurora("a", "a2", false, "a")}, "b", true, false, false},
		{name: "a promoted reader while the writer is silent", mem: reigning, seen: []sighting{says("c", "1", false, 3)}, writer: "c", fresh: true, unsettled: true},
		{name: "the same timeline while the writer is silent", mem: reigning, seen: []sighting{says("c", "1", false, 2).readerAt(60)}, unsettled: true},
		{name: "the same timeline when the writer is gone", mem: reigning, seen: []sighting{says("c", "1", false, 2).readerAt(60)}, writer: "c", fresh: true},
		{name: "unknown timelines, a reader since, the writer is silent", mem: reigning, seen: []sighting{says("c", "1", false, 0).readerAt(60)}, writer: "c", fresh: true, unsettled: true},
		{name: "aurora: a reader since, the writer is silent", mem: aurora, seen: []sighting{saysAurora("c", "1", false, "c").readerAt(60)}, writer: "c", fresh: true, unsettled: true},
		{name: "aurora: never seen as a reader, the writer is silent", mem: aurora, seen: []sighting{saysAurora("c", "1", false, "c")}, unsettled: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := decide(&tc.mem, tc.seen, !tc.unsettled)
			got := ""
			if v.writer >= 0 {
				got = tc.seen[v.writer].id
			}
			if got != tc.writer || v.newEpoch != tc.fresh || v.split != tc.split {
				t.Fatalf("writer %q, new epoch %v, split %v; want %q, %v, %v; notes %v", got, v.newEpoch, v.split, tc.writer, tc.fresh, tc.split, v.notes)
			}
			for i := range tc.seen {
				if i != v.writer && v.notes[i] == "" {
					t.Errorf("nothing says why %s is not the writer", tc.seen[i].id)
				}
			}
		})
	}
}

func TestAnEndedReignNeverComesBack(t *testing.T) {
	var m memory
	round := func(seen ...sighting) string {
		v := decide(&m, seen, true)
		m.learn(v, seen)
		if v.writer < 0 {
			return ""
		}
		return seen[v.writer].id
	}
	for i, step := range []struct {
		seen  sighting
		want  string
		epoch uint64
	}{
		{saysAurora("a", "a1", false, "a"), "a", 1},
		{saysAurora("b", "b1", false, "b"), "b", 2},
		{saysAurora("a", "a1", false, "a"), "", 2},
		{saysAurora("b", "b1", false, "b"), "b", 2},
		{saysAurora("a", "a2", false, "a"), "a", 3},
		{saysAurora("b", "b1", false, "b"), "", 3},
		{saysAurora("a", "a1", false, "a"), "", 3},
	} {
		if got := round(step.seen); got != step.want || m.epoch != step.epoch {
			t.Fatalf("step %d: %q in epoch %d, want %q in %d", i, got, m.epoch, step.want, step.epoch)
		}
	}
}
