package main

// allowed are the functions that are volatile by the catalog because their values change, though calling them changes
// nothing. Whether a second run told the client something else is for the digest of the answer to find out.
var allowed = map[string]bool{
	// Chance and clocks. A seed that setseed gave is lost with the session; MentionsState tells of it.
	"random": true, "gen_random_uuid": true, "clock_timestamp": true, "timeofday": true,

	// Waiting twice changes nothing but the time, which the deadline bounds.
	"pg_sleep": true, "pg_sleep_for": true, "pg_sleep_until": true,

	// What the server's state is.
	"pg_is_in_recovery": true, "pg_is_wal_replay_paused": true, "pg_last_wal_receive_lsn": true,
	"pg_last_wal_replay_lsn": true, "pg_last_xact_replay_timestamp": true, "pg_current_wal_lsn": true,
	"pg_current_wal_insert_lsn": true, "pg_current_wal_flush_lsn": true, "pg_lock_status": true,
	"pg_blocking_pids": true, "pg_safe_snapshot_blocking_pids": true, "pg_prepared_xact": true, "pg_xact_status": true,
	"txid_status": true, "pg_notification_queue_usage": true, "current_query": true,

	// What relations look like.
	"pg_relation_size": true, "pg_table_size": true, "pg_indexes_size": true, "pg_total_relation_size": true,
	"pg_database_size": true, "pg_tablespace_size": true, "pg_partition_tree": true, "pg_partition_ancestors": true,
	"pg_sequence_last_value": true,
}
