package demo

import "time"

// Kind is what an operation does.
type Kind uint8

// The operations of the load, in equal parts.
const (
	Transaction Kind = iota // begin, insert, update of the worker's counter, commit
	Autocommit              // an insert with parameters: extended protocol, commits by itself
	Simple                  // an insert without parameters: simple protocol, commits by itself
	Read                    // a select of the worker's counter
	kinds
)

// Outcome is what the caller of an operation was told.
type Outcome uint8

// What a caller can be told.
const (
	Acked     Outcome = iota // success
	Refused                  // an error that says, or implies, that nothing has happened
	Undecided                // SQLSTATE 08007: the driver says that it cannot know
	Failed                   // any other error: the caller cannot know, and is not told so
)

// ID tells the writes of one contestant apart. It is stored with the row that the write inserts.
type ID struct {
	Worker int
	Seq    int
}

// Op is an operation that has ended.
type Op struct {
	ID
	Kind    Kind
	Outcome Outcome
	End     time.Duration // since the load began
	Took    time.Duration
}

// Writes says whether the operation leaves a row.
func (o Op) Writes() bool { return o.Kind != Read }
