package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// line is a connection that a program has for a worker. The worker owns it; a request is answered before there is another.
type line struct {
	program *program
	pooler  *frontPooler
	name    string // empty: not open
	answers <-chan url.Values
	status  string // what the client knows of its transaction
}

// languageError is what a client of another language was told.
type languageError struct {
	code string // the server's SQLSTATE; empty: the client's own error
	text string
}

func (e *languageError) Error() string {
	if e.code == "" {
		return e.text
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", e.text, e.code)
}

// ask has the program do something, and waits for it. A line whose connection may not be there any more is given up.
func (l *line) ask(ctx context.Context, form url.Values) (url.Values, error) {
	if l.name == "" {
		if err := l.open(ctx); err != nil {
			return nil, err
		}
	}
	return l.do(ctx, form)
}

func (l *line) do(ctx context.Context, form url.Values) (url.Values, error) {
	form.Set("session", l.name)
	if err := l.program.send(form); err != nil {
		return nil, fmt.Errorf("the client's program does not listen: %w", err)
	}
	select {
	case got := <-l.answers:
		l.status = got.Get("status")
		err := told(got.Get("error"))
		if err != nil && sqlState(err) == "" {
			l.close(ctx)
		}
		return got, err
	case <-l.program.ended:
		return nil, errors.New("the client's program has ended")
	case <-ctx.Done():
		l.leave()
		return nil, context.Cause(ctx)
	}
}

func told(text string) error {
	if text == "" {
		return nil
	}
	code, rest, _ := strings.Cut(text, " ")
	if code == "-" {
		code = ""
	}
	return &languageError{code: code, text: strings.TrimSuffix(rest, "; ")}
}

func (l *line) open(ctx context.Context) error {
	answers := make(chan url.Values, 1)
	l.answers = answers
	p := l.program
	p.mu.Lock()
	p.n++
	l.name = strconv.Itoa(p.n)
	p.answers[l.name] = answers
	p.mu.Unlock()
	host, port, err := net.SplitHostPort(l.pooler.addr.String())
	if err != nil {
		return err
	}
	_, err = l.do(ctx, url.Values{"do": {"open"}, "host": {host}, "port": {port}, "user": {l.pooler.user}, "db": {l.pooler.db}})
	return err
}

// close ends the connection.
func (l *line) close(ctx context.Context) {
	if l.name == "" {
		return
	}
	if err := l.program.send(url.Values{"session": {l.name}, "do": {"close"}}); err == nil {
		select {
		case <-l.answers:
		case <-l.program.ended:
		case <-ctx.Done():
		}
	}
	l.leave()
}

// leave forgets the connection, which may never answer.
func (l *line) leave() {
	l.program.mu.Lock()
	delete(l.program.answers, l.name)
	l.program.mu.Unlock()
	l.name = ""
}

// languageSession is for clients of other languages. They have no pools of their own here: a worker keeps a connection for each.
type languageSession struct {
	worker *worker
	line   *line
	named  bool // statements with arguments are prepared
	inTx   bool
	steps  []string // what was done, for who wants to know how it came about
}

// copySession is for those that can send COPY, and bulkSession for those that can send several statements at once, too.
type (
	copySession struct{ languageSession }
	bulkSession struct{ copySession }
)

func (w *worker) languageSession() session {
	s := languageSession{worker: w, line: w.lines[w.client], named: w.rng.IntN(2) == 0}
	switch w.client {
	case "node":
		return &s
	case "psycopg":
		return &copySession{s} // its pipelines, up to version 3.1.10, lose count of results that come in pieces
	}
	return &bulkSession{copySession{s}}
}

func (s *languageSession) ask(ctx context.Context, do, query string, args ...[]any) ([]string, error) {
	form := url.Values{"do": {do}, "sql": {query}}
	if s.named {
		form.Set("named", "1")
	}
	for _, row := range args {
		form.Add("row", strings.ReplaceAll(strings.Trim(fmt.Sprint(row), "[]"), " ", ","))
	}
	got, err := s.line.ask(ctx, form)
	s.steps = append(s.steps, fmt.Sprintf("%s %s: %s, then %s", do, query, describe(err), s.line.status))
	return got["row"], err
}

func (s *languageSession) pin(context.Context) error { return nil }

func (s *languageSession) begin(ctx context.Context, iso string) error {
	_, err := s.ask(ctx, "begin", iso)
	s.inTx = err == nil
	return err
}

func (s *languageSession) commit(ctx context.Context) error {
	s.inTx = false
	_, err := s.ask(ctx, "commit", "")
	return err
}

func (s *languageSession) rollback(ctx context.Context) error {
	if !s.inTx || s.line.name == "" {
		return nil
	}
	s.inTx = false
	_, err := s.ask(ctx, "rollback", "")
	return err
}

func (s *languageSession) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.ask(ctx, "exec", query, rowOf(args)...)
	return err
}

func (s *languageSession) query(ctx context.Context, query string, args ...any) ([]string, error) {
	return s.ask(ctx, "query", query, rowOf(args)...)
}

func rowOf(args []any) [][]any {
	if len(args) == 0 {
		return nil
	}
	return [][]any{args}
}

func (s *languageSession) prepared(ctx context.Context, query string, args ...[]any) error {
	_, err := s.ask(ctx, "prepared", query, args...)
	return err
}

// release finds the connection in no transaction: every operation ends its own, and one that is left open keeps a connection of the
// pooler's from everybody.
func (s *languageSession) release() {
	if s.line.name == "" || s.line.status == "idle" {
		return
	}
	w := s.worker
	w.problem(w.units[len(w.units)-1], kindOther, fmt.Sprintf("a transaction is left %s: %q", s.line.status, s.steps))
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	s.line.close(ctx)
}

func (s *bulkSession) batch(ctx context.Context, query string, args ...[]any) error {
	_, err := s.ask(ctx, "batch", query, args...)
	return err
}

func (s *copySession) copyIn(ctx context.Context, table string, columns []string, rows [][]any) error {
	var data strings.Builder
	for _, row := range rows {
		for i, v := range row {
			if i > 0 {
				data.WriteByte('\t')
			}
			fmt.Fprint(&data, v)
		}
		data.WriteByte('\n')
	}
	_, err := s.line.ask(ctx, url.Values{
		"do": {"copy"}, "sql": {fmt.Sprintf("copy %s (%s) from stdin", table, strings.Join(columns, ", "))}, "data": {data.String()},
	})
	return err
}
