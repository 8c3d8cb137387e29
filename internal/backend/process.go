package backend

import (
	"strconv"
	"strings"
	"time"
)

// processes asks for the server processes of upstreams, which are those of the same user and database.
func processes(group []*Upstream) string {
	pids := make([]string, len(group))
	for i, u := range group {
		pids[i] = strconv.FormatUint(uint64(u.PID), 10)
	}
	return `select pid, state, state_change, pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() operator(pg_catalog.-) backend_start), wait_event` +
		` from pg_catalog.pg_stat_activity where pid operator(pg_catalog.=) any ('{` + strings.Join(pids, ",") + `}')` +
		` and usename operator(pg_catalog.=) session_user and datname operator(pg_catalog.=) pg_catalog.current_database()`
}

// process is what a server says of one of its processes.
type process struct {
	state, change string // empty when it does not tell
	waits         string // what it waits for
	age           time.Duration
}

func readProcess(row [][]byte) (pid uint32, p process, ok bool) {
	if len(row) != 5 {
		return 0, p, false
	}
	n, err := strconv.ParseUint(string(row[0]), 10, 32)
	age, ageErr := strconv.ParseFloat(string(row[3]), 64)
	if err != nil || ageErr != nil {
		return 0, p, false
	}
	return uint32(n), process{string(row[1]), string(row[2]), string(row[4]), time.Duration(age * float64(time.Second))}, true
}

// serves reports whether it is the upstream's: a number that was given out again belongs to a process that is younger than the
// connection.
func (p process) serves(u *Upstream) bool {
	age := time.Since(u.Since)
	return p.age >= age-age/1000-time.Second
}

// idle reports whether the process waits for its client.
func (p process) idle() bool {
	switch p.state {
	case "idle", "idle in transaction", "idle in transaction (aborted)":
		return true
	}
	return false
}

// stuck reports whether the process has more to send than its client takes.
func (p process) stuck() bool { return p.state == "active" && p.waits == "ClientWrite" }
