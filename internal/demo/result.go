package demo

import "time"

// Result is what a run of the demo has shown.
type Result struct {
	Failures    []Failure
	Contestants []Contestant // in the order PgxEndpoint, PgxMultiHost, Fairlead
	Workers     int          // for each contestant
	StaleDNS    time.Duration
	OpTimeout   time.Duration
	Took        time.Duration // the whole run, with starting the servers
}

// Failure is one way in which the writer went away.
type Failure struct {
	Name string // what was done to the writer: "killed", "frozen"
	// At is when it was begun, Gone when it was complete, and Accepting when the successor took writes, since the load
	// began. What was written between At and Gone may have been the old writer's last work.
	At, Gone, Accepting time.Duration
	Old, New            string // the writers' instance IDs
}

// Contestant is one driver and how it fared.
type Contestant struct {
	Name string
	What string // what it is, in a few words
	Tally
	Latency
	Causes    map[string]int // why operations failed
	Outages   []Outage       // one for each failure
	Timelines []Timeline     // one for each failure; all contestants have the same bins
}

// The names of the contestants.
const (
	PgxEndpoint  = "pgx-endpoint"
	PgxMultiHost = "pgx-multihost"
	Fairlead     = "fairlead"
)

// Outage is the time without a successful write in all failures together.
func (c Contestant) Outage() time.Duration {
	var sum time.Duration
	for _, o := range c.Outages {
		sum += o.None
	}
	return sum
}

// Contestant returns the one of that name, or nil.
func (r *Result) Contestant(name string) *Contestant {
	for i := range r.Contestants {
		if r.Contestants[i].Name == name {
			return &r.Contestants[i]
		}
	}
	return nil
}

// shown is how much of the load before a failure, and after the slowest contestant's recovery, is in the timelines.
const shown = time.Second

// addOutages measures what each failure was to each contestant; ops has their operations, in the same order.
func (r *Result) addOutages(ops [][]Op, end time.Duration) {
	for i, f := range r.Failures {
		to := end
		if i+1 < len(r.Failures) {
			to = r.Failures[i+1].At
		}
		from := max(f.At-shown, 0)
		last := f.Accepting
		for j := range r.Contestants {
			o := measureOutage(ops[j], r.Workers, from, f, to)
			r.Contestants[j].Outages = append(r.Contestants[j].Outages, o)
			last = max(last, o.To, f.At+o.AllBack)
		}
		last = min(last+shown, to)
		for j := range r.Contestants {
			r.Contestants[j].Timelines = append(r.Contestants[j].Timelines, timeline(ops[j], from, f.At, last))
		}
	}
}

// endOf is when the last operation ended.
func endOf(ops [][]Op) time.Duration {
	var end time.Duration
	for _, of := range ops {
		for _, op := range of {
			end = max(end, op.End)
		}
	}
	return end
}
