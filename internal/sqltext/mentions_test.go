package sqltext

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMentionsState(t *testing.T) {
	for sql, want := range map[string]StateMask{
		"": 0, "t": 0, "select 1": 0, "select template, temperature, attempt, \"temps\", contemporary, temporarily from items": 0,
		"select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)": 0, "select nextval('s')": 0, "listen a; notify b": 0, "a & b": 0, "u & \"x\"": 0,
		"select set_config('a', 'b', false)": StateSetConfig, "SELECT SET_CONFIG('a')": StateSetConfig, "do $$ Set_Config $$": StateSetConfig,
		"select pg_advisory_lock(1)": StateAdvisoryLock, "select pg_try_advisory_lock_shared(1)": StateAdvisoryLock,
		"create temp table": StateTemp, "TEMP": StateTemp, "create TEMPORARY view": StateTemp, "(temporary)": StateTemp, "pg_temp.x": StateTemp, "pg_temp_3.x": StateTemp,
		"currval('s')": StateSequence, "lastval()": StateSequence, "LASTVAL()": StateSequence, "setseed(1)": StateSeed, "lo_open(1)": StateLargeObject, "lo_create(1)": StateLargeObject,
		"lo_creat(1)": StateLargeObject, "pg_notify('a', '')": StateNotify, "dblink_exec('')": StateOutside, "lo_import('')": StateOutside, "lo_export(1, '')": StateOutside,
		"pg_logical_emit_message(false, '', '')": StateOutside, "pg_create_logical_replication_slot('a', 'b', true)": StateReplication, "pg_create_physical_replication_slot('a')": StateReplication,
		"pg_replication_origin_session_setup('a')": StateReplication, `select U&"x"`: StateEscaped, `u&"x" & 1`: StateEscaped, `1&u&"x"`: StateEscaped,
		"setseed currval set_config": StateSeed | StateSequence | StateSetConfig,
	} {
		if got := MentionsState([]byte(sql)); got != want {
			t.Errorf("%q: %b, want %b", sql, got, want)
		}
	}
}

// Whatever stands around a word, and in whatever case it is, it is seen.
func TestMentionsStateMissesNoWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(mentions[:]).Draw(t, "word")
		word := []byte(m.text)
		for i := range word {
			if rapid.Bool().Draw(t, "upper") {
				word[i] = strings.ToUpper(string(word[i]))[0]
			}
		}
		sql := rapid.SliceOf(rapid.Byte()).Draw(t, "before")
		if m.whole {
			sql = append(sql, ' ')
		}
		sql = append(sql, word...)
		if m.whole {
			sql = append(sql, rapid.SampledFrom([]string{" ", "", "orary", "ORARY("}).Draw(t, "after")...)
		} else {
			sql = append(sql, rapid.SliceOf(rapid.Byte()).Draw(t, "after")...)
		}
		if MentionsState(sql)&m.mask == 0 {
			t.Fatalf("%q is not seen in %q", m.text, sql)
		}
	})
}

func TestMentionsStateAllocatesNothing(t *testing.T) {
	sql := []byte(typicalQuery)
	if n := testing.AllocsPerRun(100, func() { MentionsState(sql) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const typicalQuery = `SELECT o.id, o.created_at, o.total_cents, c.email AS customer_email, coalesce(sum(i.quantity), 0) AS items ` +
	`FROM orders AS o JOIN customers c ON c.id = o.customer_id LEFT JOIN order_items i ON i.order_id = o.id ` +
	`WHERE o.status = $1 AND o.created_at >= $2 AND c.deleted_at IS NULL GROUP BY o.id, c.email ORDER BY o.created_at DESC LIMIT $3`

func BenchmarkMentionsState(b *testing.B) {
	sql := []byte(typicalQuery)
	b.SetBytes(int64(len(sql)))
	b.ReportAllocs()
	for b.Loop() {
		MentionsState(sql)
	}
}

func BenchmarkPure(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Pure(typicalQuery, Options{})
	}
}
