package main

// mutation is a precaution, and how to take it out.
type mutation struct {
	name    string
	without string // what is not done any more
	edits   []edit
	torture []string // flags: under which it is to be noticed
}

// edit replaces a text that is in a file exactly once.
type edit struct{ file, old, new string }

var mutations = []mutation{
	{
		name:    "LSN guard",
		without: "a commit record that the new writer's WAL does not reach is not taken for lost: the transaction ID alone decides",
		edits: []edit{{"internal/commit/lsn.go", `	if e.LSN >= reign.End {
		return lost
	}
`, ""}},
		torture: []string{"-mode", "lsn", "-faults", "behind", "-load", "tx,tx-simple,tx-keyed,insert,insert-returning"},
	},
	{
		name:    "first recovery only",
		without: "the WAL position is believed after a second recovery too",
		edits: []edit{
			{"internal/commit/lsn.go", `	case reign.Before != e.Boot:
		return undecidable
`, ""},
			{"internal/commit/lsn.go", "reign.Timeline != e.Timeline+1 || reign.End == 0", "reign.End == 0"},
		},
		torture: []string{"-mode", "lsn", "-faults", "behind-twice", "-load", "tx,tx-simple,tx-keyed,insert,insert-returning"},
	},
	{
		name:    "the marker's resolver commits",
		without: "the resolver looks for the row, and does not write it where it is missing",
		edits: []edit{{"internal/commit/commits.sql", `    insert into fairlead.commits (session, seq, void) values (p_session, p_seq, true) on conflict (session, seq) do nothing;
    if found then`, `    perform 1 from fairlead.commits where session = p_session and seq = p_seq;
    if not found then`}},
		torture: []string{"-mode", "marker", "-faults", "late-commit", "-load", "tx,tx-simple"},
	},
	{
		name:    "digest",
		without: "a replay may answer otherwise, as long as it says as much",
		edits: []edit{{"internal/session/server.go",
			"s.verify == 0 || s.delivered > s.verify || s.delivered == s.verify && s.hash.value() != s.verifySum",
			"s.verify == 0 || s.delivered > s.verify"}},
		torture: []string{"-mode", "marker", "-faults", "reset", "-load", "diverge-now,tx-counter"},
	},
	{
		name:    "description hashes",
		without: "a prepared statement is restored whatever its result has become",
		edits: []edit{{"internal/session/changed.go", "return differs(st.description, st.found) || differs(st.rows, st.foundRows)",
			"return false"}},
		torture: []string{"-mode", "marker", "-faults", "reset", "-load", "shape", "-clients", "pgx", "-workers", "12"},
	},
	{
		name:    "durability barrier",
		without: "a commit that is visible is answered, whether a standby has it or not",
		edits:   []edit{{"internal/commit/decide.go", "if o == Committed {", "if o == Committed && e.Mode == Off {"}},
		torture: []string{"-mode", "marker", "-faults", "unreplicated", "-load", "tx,tx-simple,insert"},
	},
	{
		name:    "end of the old server process",
		without: "the process that the session was served by goes on, with its locks",
		edits:   []edit{{"internal/mount/resume.go", "err = endFormer(ctx, up, last, decide)", "err = context.Cause(ctx)"}},
		torture: []string{"-mode", "marker", "-faults", "cut-client", "-load", "tx-counter"},
	},
	{
		name:    "epochs",
		without: "an old writer is believed if it speaks first",
		edits: []edit{
			{"topology/decide.go", "case m.ended(s):", "case m.ended(s) && false:"},
			{"topology/decide.go", "case s.report.Timeline != 0 && s.report.Timeline < m.top:", "case false:"},
			{"topology/decide.go", "case !settled && m.epoch > 0", "case false && m.epoch > 0"},
			{"topology/decide.go", "switch better, ok := m.prefer(seen, v.writer, i); {", "switch better, ok := v.writer, true; {"},
		},
		torture: []string{"-mode", "marker", "-faults", "thaw-suspicion", "-load", "read,insert,tx"},
	},
}
