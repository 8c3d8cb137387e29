package boundaries

import (
	"context"
	"fmt"
	"slices"
)

// unit is a kind of work.
type unit struct {
	group string
	name  string
	// clients are those that can do it; default all.
	clients []string
	// effects is how many changes it makes that are committed one by one.
	effects int
	// before is run by an administrator ahead of each run; $run stands for its number.
	before []string
	// after is run like before, when the run has been audited; it may fail.
	after []string
	// body does the work.
	body func(ctx context.Context, r *run) error
	// times is SQL that gives an integer for each effect, how often it is there, in their order; default by the rows of
	// boundaries.effects, each effect having as many as rows says.
	times string
	rows  int // of an effect; default 1
	// notifies says that its effect is a notification on the channel boundaries, with the number of the run.
	notifies bool
	// may are SQLSTATEs that callers of such work have to be prepared for, besides 40001 and 08007.
	may []string
	// fails is the SQLSTATE that it is to end with if nothing is cut.
	fails string
	// fresh says that it is not to be done twice in one session.
	fresh bool
	// leaves says that it leaves something in the session that cannot be carried over: the statement behind it may be refused
	// once with 08006.
	leaves bool
}

func (u *unit) has(client string) bool {
	return len(u.clients) == 0 || slices.Contains(u.clients, client)
}

// told is what the caller knows of an effect.
type told struct {
	sent bool // what commits it was begun
	err  error
}

// run is one go at a unit.
type run struct {
	session
	id   int
	told []told
}

// commits notes what the caller of something that commits an effect was told.
func (r *run) commits(effect int, err error) error {
	r.told[effect] = told{sent: true, err: err}
	return err
}

// sql fills in the number of the run.
func (r *run) sql(text string) string { return fill(text, r.id) }

// all does one step after the other, up to the first that fails.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// do is a step of the simple protocol.
func (r *run) do(ctx context.Context, query string) func() error {
	return func() error { return r.exec(ctx, r.sql(query)) }
}

// put is a step that writes the row of an effect, by the extended protocol.
func (r *run) put(ctx context.Context, effect, row int) func() error {
	return func() error { return r.exec(ctx, put, r.id, effect, row) }
}

// expects is a step that returns rows; with arguments it uses the extended protocol.
func (r *run) expects(ctx context.Context, want []string, query string, args ...any) func() error {
	return func() error {
		got, err := r.query(ctx, r.sql(query), args...)
		if err == nil && !slices.Equal(got, want) {
			return &wrongError{fmt.Sprintf("it was given %q, want %q", got, want)}
		}
		return err
	}
}

// ends is a step of the simple protocol that commits an effect.
func (r *run) ends(ctx context.Context, effect int, query string) func() error {
	return func() error { return r.commits(effect, r.exec(ctx, r.sql(query))) }
}

// wrongError is an answer that no server would have given.
type wrongError struct{ text string }

func (e *wrongError) Error() string { return e.text }
