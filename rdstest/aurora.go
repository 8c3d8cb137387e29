package rdstest

import (
	"encoding/json"
	"fmt"
	"time"
)

// statusFile is where an instance of the Aurora flavor finds what its functions tell; it is in the data directory, since
// functions know no other.
const statusFile = "rdstest.json"

// auroraFunctions have the columns of Aurora PostgreSQL, and its habits: numbers that belong to a reader are null in the
// row of the writer, and the time of the last update in that of the instance that is asked.
var auroraFunctions = []string{
	`create function pg_catalog.aurora_version() returns text
	language sql stable parallel safe security definer set search_path = pg_catalog as $f$
		select split_part(current_setting('server_version'), ' ', 1) || '.0'
	$f$`,
	`create function pg_catalog.aurora_db_instance_identifier() returns text
	language sql stable parallel safe security definer set search_path = pg_catalog as $f$
		select pg_read_file('` + statusFile + `')::json ->> 'instance'
	$f$`,
	`create function pg_catalog.aurora_replica_status(
		out server_id text, out session_id text, out durable_lsn bigint, out highest_lsn_rcvd bigint, out current_read_lsn bigint,
		out cur_replay_latency_in_usec bigint, out active_txns integer, out is_current boolean, out last_transport_error integer,
		out last_error_timestamp timestamptz, out last_update_timestamp timestamptz, out feedback_xmin xid,
		out feedback_epoch integer, out replica_lag_in_msec double precision, out log_stream_speed_in_kib_per_second double precision,
		out log_buffer_sequence_number bigint, out oldest_read_view_trx_id bigint, out oldest_read_view_lsn bigint,
		out pending_read_ios bigint, out read_ios bigint, out iops bigint, out cpu double precision)
	returns setof record
	language sql stable parallel safe security definer set search_path = pg_catalog as $f$
		select r.server_id, r.session_id, r.durable_lsn, r.highest_lsn_rcvd, r.current_read_lsn, r.cur_replay_latency_in_usec,
			r.active_txns, true, 0, null::timestamptz,
			case when r.server_id <> f.j ->> 'instance' then r.last_update_timestamp end,
			r.feedback_xmin, r.feedback_epoch, r.replica_lag_in_msec, 0::double precision, 0::bigint,
			r.oldest_read_view_trx_id, r.oldest_read_view_lsn, 0::bigint, 0::bigint, 0::bigint, 0::double precision
		from (select pg_read_file('` + statusFile + `')::json) f (j),
		json_to_recordset(f.j -> 'status') as r (
			server_id text, session_id text, durable_lsn bigint, highest_lsn_rcvd bigint, current_read_lsn bigint,
			cur_replay_latency_in_usec bigint, active_txns integer, last_update_timestamp timestamptz, feedback_xmin xid,
			feedback_epoch integer, replica_lag_in_msec double precision, oldest_read_view_trx_id bigint, oldest_read_view_lsn bigint)
	$f$`,
}

// hidden is what the functions are called that auroraRefusals puts others in the place of.
const hidden = "rdstest_"

// auroraRefusals has the functions that tell a position in the WAL, or something of its files, raise what Aurora's do:
// those of a primary as the functions of PostgreSQL do that need logical replication, those of a standby as not supported at
// all, since there is no WAL that is replayed as in PostgreSQL.
const auroraRefusals = `do $do$
declare
	f record;
	raised text;
begin
	for f in
		select proname as name, pg_get_function_identity_arguments(oid) as args, pg_get_function_arguments(oid) as all_args,
			pg_get_function_result(oid) as result
		from pg_proc
		where pronamespace = 'pg_catalog'::regnamespace and proname in (
			'pg_current_wal_lsn', 'pg_current_wal_insert_lsn', 'pg_current_wal_flush_lsn', 'pg_walfile_name', 'pg_walfile_name_offset',
			'pg_switch_wal', 'pg_create_restore_point', 'pg_last_wal_receive_lsn', 'pg_last_wal_replay_lsn',
			'pg_last_xact_replay_timestamp', 'pg_ls_waldir')
	loop
		execute format('alter function pg_catalog.%I(%s) rename to %I', f.name, f.args, '` + hidden + `' || f.name);
		execute format('revoke execute on function pg_catalog.%I(%s) from public', '` + hidden + `' || f.name, f.args);
		if f.name like 'pg_last%' or f.name = 'pg_ls_waldir' then
			raised := format('raise %L using errcode = ''feature_not_supported''',
				'Function ' || f.name || '() is currently not supported for Aurora');
		else
			raised := format('raise %L using errcode = ''object_not_in_prerequisite_state'', hint = %L',
				'wal_level must be set to ''logical''', 'WAL control functions cannot be executed when wal_level < logical.');
		end if;
		execute format('create function pg_catalog.%I(%s) returns %s language plpgsql as %L',
			f.name, f.all_args, f.result, 'begin ' || raised || '; end');
	end loop;
end
$do$`

// auroraStatus is the content of a status file.
type auroraStatus struct {
	Instance string      `json:"instance"`
	Status   []auroraRow `json:"status"`
}

// auroraRow is one row of aurora_replica_status, without the columns that are always the same here.
type auroraRow struct {
	ServerID       string    `json:"server_id"`
	SessionID      string    `json:"session_id"`
	DurableLSN     *uint64   `json:"durable_lsn"`
	HighestRcvd    *uint64   `json:"highest_lsn_rcvd"`
	CurrentRead    *uint64   `json:"current_read_lsn"`
	ReplayLatency  *int64    `json:"cur_replay_latency_in_usec"`
	ActiveTxns     *int      `json:"active_txns"`
	LastUpdate     time.Time `json:"last_update_timestamp"`
	FeedbackXmin   *uint32   `json:"feedback_xmin"`
	FeedbackEpoch  *int      `json:"feedback_epoch"`
	Lag            *float64  `json:"replica_lag_in_msec"`
	OldestReadXID  *uint64   `json:"oldest_read_view_trx_id"`
	OldestReadView *uint64   `json:"oldest_read_view_lsn"`
}

// writerSession is what the writer has in place of the identifier of its session.
const writerSession = "MASTER_SESSION_ID"

func (s auroraStatus) encode() ([]byte, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the status of %s: %w", s.Instance, err)
	}
	return data, nil
}
