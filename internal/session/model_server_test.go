package session

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// simWorld is what outlives connections: the state that a promoted server has.
type simWorld struct {
	table    map[int]int               // id -> how many rows
	marks    map[string]bool           // keys of committed markers
	fates    map[uint64]bool           // transaction id -> committed
	xid      uint64                    // last one given out
	sequence int                       // never rolled back
	clock    int                       // what now() shows
	tried    map[string]commit.Outcome // verdicts given on markers, which hold for ever
	backends int
	boots    map[uint64]string // transaction id -> boot of the server that gave it out
}

func newSimWorld() *simWorld {
	return &simWorld{table: map[int]int{}, marks: map[string]bool{}, fates: map[uint64]bool{}, tried: map[string]commit.Outcome{}, boots: map[uint64]string{}}
}

// simState is what a transaction can take back.
type simState struct {
	ids      []int
	deferred bool // the commit will fail
	sess     map[string]string
	local    map[string]string
}

func (s simState) clone() simState {
	s.ids, s.sess, s.local = slices.Clone(s.ids), maps.Clone(s.sess), maps.Clone(s.local)
	return s
}

type simSavepoint struct {
	name  string
	state simState
}

// simTx is an open transaction.
type simTx struct {
	block    bool // between BEGIN and its end
	implicit bool // of a string of several statements
	failed   bool
	readOnly bool
	xid      uint64
	marks    []string
	simState
	points []simSavepoint
}

type simPortal struct {
	text   string
	params []string
	rows   [][]byte // what is still to be given, when it was suspended
	begun  bool
}

// simBackend is a server process: PostgreSQL at the level of messages.
type simBackend struct {
	w        *simWorld
	boot     string
	settings map[string]string
	prepared map[string]string // by name, "" the unnamed one
	portals  map[string]*simPortal
	tx       *simTx
	skip     bool // until Sync
	piped    bool // something was executed since the last Sync
	copying  int  // id that is being copied in, 0: none
	copyExt  bool
	copyRest []string // statements of the string behind COPY
	copyN    int
	out      []byte // written, flushed or not
	flushed  int
	eager    bool // flushes each message
	whim     simWhim
}

// simWhim has one statement of a server's answered otherwise than another server, or an earlier attempt, answers it.
type simWhim struct {
	at   int    // how many statements from now on; 0: there is none
	code string // it fails
	rows int    // it returns as many rows, where the client knows nothing of them in advance
}

// strike counts a statement, and returns its answer if the whim is about it.
func (b *simBackend) strike(text string) (r simResult, struck bool) {
	if b.whim.at == 0 {
		return r, false
	}
	if b.whim.at--; b.whim.at > 0 {
		return r, false
	}
	if b.whim.code != "" {
		return simResult{code: b.whim.code}, true
	}
	if text != "select now()" && text != "select many" && text != "select nextval('q')" {
		return r, false
	}
	for range b.whim.rows {
		b.w.clock++
		r.rows = append(r.rows, fmt.Append(nil, "whim ", b.w.clock))
	}
	r.tag = fmt.Sprintf("SELECT %d", b.whim.rows)
	return r, true
}

func newSimBackend(w *simWorld) *simBackend {
	w.backends++
	return &simBackend{w: w, boot: fmt.Sprintf("1.%d", w.backends), settings: map[string]string{}, prepared: map[string]string{}, portals: map[string]*simPortal{}}
}

func (b *simBackend) send(m pgproto3.BackendMessage) {
	var err error
	if b.out, err = m.Encode(b.out); err != nil {
		panic(err)
	}
	if b.eager {
		b.flush()
	}
}

func (b *simBackend) flush() { b.flushed = len(b.out) }

func (b *simBackend) status() byte {
	switch {
	case b.tx == nil || !b.tx.block:
		return wire.StatusIdle
	case b.tx.failed:
		return wire.StatusFailed
	}
	return wire.StatusTransaction
}

func (b *simBackend) ready() {
	b.send(&pgproto3.ReadyForQuery{TxStatus: b.status()})
	b.flush()
}

func (b *simBackend) fail(code string) {
	b.send(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "sim: " + code})
	b.flush()
	if b.tx != nil {
		if b.tx.block {
			b.tx.failed = true
		} else {
			b.abort()
		}
	}
}

func (b *simBackend) begin() {
	if b.tx == nil {
		b.tx = &simTx{simState: simState{sess: maps.Clone(b.settings), local: map[string]string{}}}
	}
}

func (b *simBackend) abort() {
	if b.tx != nil && b.tx.xid != 0 {
		b.w.fates[b.tx.xid] = false
	}
	b.tx = nil
	clear(b.portals)
}

// commit reports the SQLSTATE with which it failed, if it did.
func (b *simBackend) commit() string {
	tx := b.tx
	if tx == nil {
		return ""
	}
	for _, key := range tx.marks {
		if b.w.marks[key] || b.w.tried[key] == commit.Aborted {
			b.abort()
			return "23505"
		}
	}
	if tx.deferred {
		b.abort()
		return "23503"
	}
	for _, id := range tx.ids {
		b.w.table[id]++
	}
	for _, key := range tx.marks {
		b.w.marks[key] = true
	}
	if tx.xid != 0 {
		b.w.fates[tx.xid] = true
	}
	b.settings = tx.sess
	b.tx = nil
	clear(b.portals)
	return ""
}

func (b *simBackend) assign() {
	if b.tx.xid == 0 {
		b.w.xid++
		b.tx.xid = b.w.xid
		b.w.boots[b.tx.xid] = b.boot
	}
}

// simResult is what a statement leads to.
type simResult struct {
	columns []string
	rows    [][]byte
	tag     string
	code    string
	copyIn  int
	ends    bool // it ended or began a transaction: what it did is done before its tag
}

func (b *simBackend) show(name string) string {
	if v, ok := b.tx.local[name]; ok {
		return v
	}
	return b.tx.sess[name]
}

func number(s string) int {
	n, err := strconv.Atoi(strings.Trim(s, "'() "))
	if err != nil {
		return 0
	}
	return n
}

// inside is what stands in the last pair of parentheses.
func inside(s string) string {
	i, j := strings.LastIndexByte(s, '('), strings.LastIndexByte(s, ')')
	if i < 0 || j < i {
		return ""
	}
	return s[i+1 : j]
}

// describe tells the columns of a statement.
func simColumns(text string) []string {
	switch {
	case strings.HasPrefix(text, "/* fairlead */"), strings.HasPrefix(text, "select"), strings.HasPrefix(text, "show"):
		return []string{"a"}
	case strings.Contains(text, "returning"):
		return []string{"r"}
	}
	return nil
}

func bindText(text string, params []string) string {
	for i, p := range params {
		text = strings.ReplaceAll(text, "$"+strconv.Itoa(i+1), p)
	}
	return text
}

// run executes one statement in the transaction that is open or that it opens.
func (b *simBackend) run(text string, params []string) (r simResult) {
	b.begin()
	tx := b.tx
	exit := strings.HasPrefix(text, "commit") || strings.HasPrefix(text, "rollback")
	if tx.failed && !exit {
		return simResult{code: "25P02"}
	}
	word, rest, _ := strings.Cut(text, " ")
	if strings.HasPrefix(text, "/* fairlead */") {
		return b.probe(text, params)
	}
	if r, struck := b.strike(text); struck && !exit && word != "begin" {
		return r
	}
	text = bindText(text, params)
	write := func(ids ...int) string {
		if tx.readOnly {
			return "25006"
		}
		b.assign()
		tx.ids = append(tx.ids, ids...)
		return ""
	}
	row := func(v string) [][]byte { return [][]byte{[]byte(v)} }
	switch word {
	case "begin":
		tx.block, tx.implicit = true, false
		tx.readOnly = tx.readOnly || rest == "read only"
		return simResult{tag: "BEGIN", ends: true}
	case "commit":
		return b.runCommit(rest == "and chain")
	case "rollback":
		return b.runRollback(rest)
	case "savepoint":
		if !tx.block {
			return simResult{code: "25P01"}
		}
		tx.points = append(tx.points, simSavepoint{rest, tx.simState.clone()})
		return simResult{tag: "SAVEPOINT", ends: true}
	case "release":
		for i := len(tx.points) - 1; i >= 0 && tx.block; i-- {
			if tx.points[i].name == rest {
				tx.points = tx.points[:i]
				return simResult{tag: "RELEASE", ends: true}
			}
		}
		return simResult{code: map[bool]string{true: "3B001", false: "25P01"}[tx.block]}
	case "insert":
		id := number(strings.TrimSuffix(strings.SplitAfter(inside(strings.SplitN(text, " returning", 2)[0]), ")")[0], ")"))
		if strings.HasPrefix(rest, "into d ") {
			tx.deferred = true
		}
		if code := write(id); code != "" {
			return simResult{code: code}
		}
		r.tag = "INSERT 0 1"
		switch {
		case strings.Contains(text, "returning nextval"):
			b.w.sequence++
			r.rows = row(strconv.Itoa(b.w.sequence))
		case strings.Contains(text, "returning"):
			r.rows = row(strconv.Itoa(id))
		}
		return r
	case "create":
		if code := write(number(strings.TrimPrefix(strings.Fields(text)[2], "c"))); code != "" {
			return simResult{code: code}
		}
		return simResult{tag: "CREATE TABLE"}
	case "select":
		switch {
		case rest == "1/0":
			return simResult{code: "22012"}
		case rest == "count(*) from t":
			n := len(tx.ids)
			for _, c := range b.w.table {
				n += c
			}
			return simResult{rows: row(strconv.Itoa(n)), tag: "SELECT 1"}
		case rest == "now()":
			b.w.clock++
			return simResult{rows: row(strconv.Itoa(b.w.clock)), tag: "SELECT 1"}
		case rest == "nextval('q')":
			b.w.sequence++
			return simResult{rows: row(strconv.Itoa(b.w.sequence)), tag: "SELECT 1"}
		case strings.HasPrefix(rest, "f("):
			if code := write(number(inside(rest))); code != "" {
				return simResult{code: code}
			}
			return simResult{rows: row("f"), tag: "SELECT 1"}
		case strings.HasPrefix(rest, "many"):
			return simResult{rows: [][]byte{[]byte("1"), []byte("2"), []byte("3")}, tag: "SELECT 3"}
		}
		return simResult{rows: row(rest), tag: "SELECT 1"}
	case "show":
		return simResult{rows: row(b.show(rest)), tag: "SHOW"}
	case "set":
		local := false
		if r, ok := strings.CutPrefix(rest, "local "); ok {
			rest, local = r, true
		}
		name, v, _ := strings.Cut(rest, " = ")
		switch {
		case local && (tx.block || tx.implicit):
			tx.local[name] = strings.Trim(v, "'")
		case !local:
			tx.sess[name] = strings.Trim(v, "'")
			delete(tx.local, name)
		}
		return simResult{tag: "SET"}
	case "reset":
		tx.sess[rest] = ""
		delete(tx.local, rest)
		return simResult{tag: "RESET"}
	case "prepare":
		name, as, _ := strings.Cut(rest, " as ")
		if _, ok := b.prepared[name]; ok {
			return simResult{code: "42P05"}
		}
		b.prepared[name] = as
		return simResult{tag: "PREPARE"}
	case "execute":
		name, _, _ := strings.Cut(rest, "(")
		as, ok := b.prepared[name]
		if !ok {
			return simResult{code: "26000"}
		}
		r := b.run(as, []string{inside(rest)})
		if r.columns = simColumns(as); len(r.rows) == 0 && r.code == "" {
			r.columns = nil
		}
		return r
	case "deallocate":
		if rest == "all" {
			b.dropAll()
			return simResult{tag: "DEALLOCATE ALL"}
		}
		if _, ok := b.prepared[rest]; !ok {
			return simResult{code: "26000"}
		}
		delete(b.prepared, rest)
		return simResult{tag: "DEALLOCATE"}
	case "discard":
		if tx.block || tx.implicit || b.piped {
			return simResult{code: "25001"}
		}
		b.dropAll()
		clear(tx.sess)
		clear(tx.local)
		return simResult{tag: "DISCARD ALL", ends: true}
	case "copy":
		if tx.readOnly {
			return simResult{code: "25006"}
		}
		return simResult{copyIn: 1}
	}
	return simResult{code: "42601"}
}

func (b *simBackend) dropAll() {
	unnamed, ok := b.prepared[""]
	clear(b.prepared)
	if ok {
		b.prepared[""] = unnamed
	}
}

func (b *simBackend) runCommit(chain bool) simResult {
	tx := b.tx
	if chain && !tx.block {
		return simResult{code: "25P01"}
	}
	tag := "COMMIT"
	readOnly := tx.readOnly
	if tx.failed {
		b.abort()
		tag = "ROLLBACK"
	} else if code := b.commit(); code != "" {
		return simResult{code: code, ends: true}
	}
	if chain {
		b.begin()
		b.tx.block, b.tx.readOnly = true, readOnly
	}
	return simResult{tag: tag, ends: true}
}

func (b *simBackend) runRollback(rest string) simResult {
	tx := b.tx
	if name, ok := strings.CutPrefix(rest, "to "); ok {
		for i := len(tx.points) - 1; i >= 0 && tx.block; i-- {
			if tx.points[i].name == name {
				tx.simState, tx.failed = tx.points[i].state.clone(), false
				tx.points = tx.points[:i+1]
				return simResult{tag: "ROLLBACK", ends: true}
			}
		}
		return simResult{code: map[bool]string{true: "3B001", false: "25P01"}[tx.block]}
	}
	chain := rest == "and chain"
	if chain && !tx.block {
		return simResult{code: "25P01"}
	}
	readOnly := tx.readOnly
	b.abort()
	if chain {
		b.begin()
		b.tx.block, b.tx.readOnly = true, readOnly
	}
	return simResult{tag: "ROLLBACK", ends: true}
}

// probe is the injected statement.
func (b *simBackend) probe(text string, params []string) simResult {
	tx := b.tx
	one := func(v string) simResult {
		return simResult{rows: [][]byte{[]byte(v)}, tag: "SELECT 1"}
	}
	before := tx.xid
	if text == commit.Statement(commit.LSN) {
		answer := fmt.Sprintf("%d 0/%X 000000010000000000000001", before, 4096+before)
		if params[0] == "t" {
			answer += " sys " + b.boot
		}
		return one(answer)
	}
	if tx.readOnly {
		return one(fmt.Sprintf("readonly %d", before))
	}
	key := params[0] + " " + strings.TrimLeft(params[1], "0")
	if b.w.marks[key] || b.w.tried[key] == commit.Aborted || slices.Contains(tx.marks, key) {
		return simResult{code: "23505"}
	}
	b.assign()
	tx.marks = append(tx.marks, key)
	return one(fmt.Sprintf("marked %d", before))
}
