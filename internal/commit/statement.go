package commit

import _ "embed"

//go:embed commits.sql
var migration string

// Tag is the comment that every statement of this package begins with, and by which it is found in pg_stat_statements and logs.
const Tag = "/* fairlead */ "

// The first words of answers.
const (
	answerMarked       = "marked"
	answerReadOnly     = "readonly"
	answerRecovery     = "recovery"
	answerNoXID        = "none" // in the place of the transaction's id
	answerSerializable = "none,serializable"
	answerCommitted    = "committed"
	answerAborted      = "aborted"
	answerElsewhere    = "elsewhere"
)

const (
	markStatement = Tag + `select fairlead.mark($1::pg_catalog.uuid, $2::bigint, $3::bigint)`

	// A boot is formed as package topology does it.
	bootStart = `(extract(epoch from pg_catalog.pg_postmaster_start_time()) operator(pg_catalog.*) 1000000)::bigint`
	bootReset = `(extract(epoch from pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) operator(pg_catalog.*) 1000000)::bigint`
	boot      = `pg_catalog.concat(` + bootStart + `, '.', ` + bootReset + `)`
	system    = `(pg_catalog.pg_control_system()).system_identifier`

	// It has neither a table nor a subquery, so that running it costs next to nothing. Which server it is does not change while
	// a connection to it lives, and is asked only once.
	lsnStatement = Tag + `select case when pg_catalog.pg_is_in_recovery() then '` + answerRecovery + `'` +
		` else pg_catalog.concat_ws(' ', coalesce(pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text,` +
		` case when pg_catalog.current_setting('transaction_isolation') operator(pg_catalog.=) 'serializable' then '` + answerSerializable + `' else '` + answerNoXID + `' end),` +
		` pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()),` +
		` case when $1::boolean then pg_catalog.concat_ws(' ', ` + system + `, ` + boot + `) end) end`
)

// Statement returns the SQL that is injected before a commit; "" for Off. It returns one row of one text value. For Marker
// it has three parameters, which [Key.Params] gives; for LSN one, which [LSNParams] gives.
func Statement(m Mode) string {
	switch m {
	case Marker:
		return markStatement
	case LSN:
		return lsnStatement
	}
	return ""
}

// LSNParams returns the parameters of [Statement] for mode LSN, in text format. Whole asks which server it is too, as the
// first question on a connection must.
func LSNParams(whole bool) [][]byte {
	if whole {
		return [][]byte{[]byte("t")}
	}
	return [][]byte{[]byte("f")}
}

// Migration returns the SQL that makes mode [Marker] possible in a database: the table fairlead.commits, its functions and their
// grants. It may be run again.
func Migration() string { return migration }
