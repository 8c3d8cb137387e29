package session

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// give sends the answer to a statement, up to max rows; it reports whether that was all.
func (b *simBackend) give(r simResult, text string, describe bool) {
	if cols := r.columns; describe {
		if cols == nil {
			cols = simColumns(text)
		}
		if len(cols) > 0 {
			b.send(columnsOf(cols))
		}
	}
	for _, v := range r.rows {
		b.send(&pgproto3.DataRow{Values: [][]byte{v}})
	}
	b.send(&pgproto3.CommandComplete{CommandTag: []byte(r.tag)})
}

func columnsOf(names []string) *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{}
	for _, n := range names {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte(n), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1})
	}
	return d
}

func splitSim(text string) (list []string) {
	for _, s := range strings.Split(text, ";") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// query is a simple Query.
func (b *simBackend) query(text string) {
	delete(b.prepared, "")
	delete(b.portals, "")
	list := splitSim(text)
	if len(list) == 0 {
		b.send(&pgproto3.EmptyQueryResponse{})
		b.finish()
		return
	}
	for _, s := range list {
		if strings.HasPrefix(s, "bogus") || strings.HasPrefix(s, violation) {
			// The parser refuses the whole string.
			b.begin()
			b.fail("42601")
			if b.tx != nil && b.tx.failed {
				b.ready()
				return
			}
			b.ready()
			return
		}
	}
	b.queryFrom(list, 0)
}

func (b *simBackend) queryFrom(list []string, at int) {
	for i := at; i < len(list); i++ {
		s := list[i]
		b.begin()
		if len(list) > 1 && !b.tx.block {
			b.tx.implicit = true
		}
		r := b.run(s, nil)
		if r.code != "" {
			b.fail(r.code)
			b.finish()
			return
		}
		if r.copyIn != 0 {
			b.copying, b.copyExt, b.copyRest, b.copyN = -1, false, list, i
			b.send(&pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}})
			b.flush()
			return
		}
		// The last statement of the string commits before it is answered.
		if i == len(list)-1 && b.tx != nil && !b.tx.block {
			if code := b.commit(); code != "" {
				if len(r.rows) > 0 {
					// Its rows went out before.
					b.send(columnsOf(simColumns(s)))
					for _, v := range r.rows {
						b.send(&pgproto3.DataRow{Values: [][]byte{v}})
					}
				}
				b.fail(code)
				b.ready()
				return
			}
		}
		b.give(r, s, len(r.rows) > 0)
	}
	b.finish()
}

// finish ends a Query.
func (b *simBackend) finish() {
	if b.tx != nil && !b.tx.block {
		if code := b.commit(); code != "" {
			b.fail(code)
		}
	}
	b.ready()
}

// handle takes one whole message.
func (b *simBackend) handle(msg []byte) {
	kind := msg[0]
	if b.copying != 0 {
		b.copyMessage(kind, msg)
		return
	}
	if b.skip && kind != wire.Sync && kind != wire.Terminate {
		return
	}
	switch kind {
	case wire.Query:
		text, _, _ := wire.CString(wire.Body(msg))
		b.query(string(text))
	case wire.Sync:
		b.skip, b.piped = false, false
		if b.tx != nil && !b.tx.block {
			if code := b.commit(); code != "" {
				b.fail(code)
			}
		}
		b.ready()
	case wire.Flush:
		b.flush()
	case wire.Parse, wire.Bind, wire.Describe, wire.Execute, wire.Close:
		if code := b.extended(kind, msg); code != "" {
			b.fail(code)
			b.skip = true
		}
	}
}

func exits(text string) bool {
	return strings.HasPrefix(text, "commit") || strings.HasPrefix(text, "rollback")
}

func (b *simBackend) failedTx() bool { return b.tx != nil && b.tx.failed }

func (b *simBackend) extended(kind byte, msg []byte) (code string) {
	body := wire.Body(msg)
	switch kind {
	case wire.Parse:
		b.begin()
		n, t := parseParts(msg)
		name, text := string(n), string(t)
		if name == "" {
			delete(b.prepared, "")
		}
		switch _, exists := b.prepared[name]; {
		case strings.HasPrefix(text, "bogus"), strings.HasPrefix(text, violation), strings.Contains(text, ";"):
			return "42601"
		case b.failedTx() && !exits(text):
			return "25P02"
		case exists:
			return "42P05"
		}
		b.prepared[name] = text
		b.send(&pgproto3.ParseComplete{})
	case wire.Bind:
		b.begin()
		p, rest, _ := wire.CString(body)
		n, _, _ := wire.CString(rest)
		text, ok := b.prepared[string(n)]
		switch {
		case !ok:
			return "26000"
		case b.failedTx() && !exits(text):
			return "25P02"
		case len(p) > 0 && b.portals[string(p)] != nil:
			return "42P03"
		}
		var params []string
		for _, v := range readBind(msg).values {
			params = append(params, string(v))
		}
		if strings.Count(text, "$") != len(params) {
			return "08P01"
		}
		b.portals[string(p)] = &simPortal{text: text, params: params}
		b.send(&pgproto3.BindComplete{})
	case wire.Describe:
		b.begin()
		name, _, _ := wire.CString(body[1:])
		text, ok := b.prepared[string(name)]
		if body[0] == 'P' {
			var p *simPortal
			if p, ok = b.portals[string(name)]; ok {
				text = p.text
			}
		}
		if !ok {
			return map[byte]string{'S': "26000", 'P': "34000"}[body[0]]
		}
		cols := simColumns(text)
		if len(cols) > 0 && b.failedTx() {
			return "25P02"
		}
		if body[0] == 'S' {
			b.send(&pgproto3.ParameterDescription{ParameterOIDs: make([]uint32, strings.Count(text, "$"))})
		}
		if len(cols) == 0 {
			b.send(&pgproto3.NoData{})
		} else {
			b.send(columnsOf(cols))
		}
	case wire.Close:
		name, _, _ := wire.CString(body[1:])
		if body[0] == 'S' {
			delete(b.prepared, string(name))
		} else {
			delete(b.portals, string(name))
		}
		b.send(&pgproto3.CloseComplete{})
	case wire.Execute:
		return b.execute(body)
	}
	return ""
}

func (b *simBackend) execute(body []byte) string {
	name, rest, _ := wire.CString(body)
	p, ok := b.portals[string(name)]
	if !ok {
		return "34000"
	}
	if p.begun && p.rows == nil {
		return "55000"
	}
	limit := int(binary.BigEndian.Uint32(rest))
	var r simResult
	if p.begun {
		r = simResult{rows: p.rows, tag: fmt.Sprintf("SELECT %d", len(p.rows))}
	} else {
		r = b.run(p.text, p.params)
		b.piped = true
	}
	p.begun, p.rows = true, nil
	if r.code != "" {
		return r.code
	}
	if r.copyIn != 0 {
		b.copying, b.copyExt = -1, true
		b.send(&pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}})
		b.flush()
		return ""
	}
	if limit > 0 && len(r.rows) > limit {
		p.rows, r.rows = r.rows[limit:], r.rows[:limit]
		for _, v := range r.rows {
			b.send(&pgproto3.DataRow{Values: [][]byte{v}})
		}
		b.send(&pgproto3.PortalSuspended{})
		return ""
	}
	if r.ends && b.tx != nil && !b.tx.block {
		if code := b.commit(); code != "" {
			return code
		}
	}
	b.give(r, p.text, false)
	return ""
}

// copyMessage is a message while COPY reads.
func (b *simBackend) copyMessage(kind byte, msg []byte) {
	end := func(code string) {
		b.copying = 0
		b.fail(code)
		if b.copyExt {
			b.skip = kind != wire.Sync
		} else {
			b.finish()
		}
	}
	switch kind {
	case wire.CopyData:
		b.begin()
		b.assign()
		b.tx.ids = append(b.tx.ids, number(strings.TrimSpace(string(wire.Body(msg)))))
	case wire.CopyDone:
		b.copying = 0
		if b.copyExt {
			b.send(&pgproto3.CommandComplete{CommandTag: []byte("COPY 1")})
			return
		}
		if b.copyN == len(b.copyRest)-1 && !b.tx.block {
			if code := b.commit(); code != "" {
				b.fail(code)
				b.ready()
				return
			}
		}
		b.send(&pgproto3.CommandComplete{CommandTag: []byte("COPY 1")})
		b.queryFrom(b.copyRest, b.copyN+1)
	case wire.CopyFail:
		end("57014")
	case wire.Flush, wire.Sync:
	default:
		end("08P01")
	}
}
