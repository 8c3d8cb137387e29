package rdstest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
)

type member struct {
	ServerID, SessionID string
	LastUpdate          *time.Time
	Lag                 *float64
	DurableLSN          int64
}

func members(t *testing.T, conn *pgx.Conn) map[string]member {
	t.Helper()
	rows, err := conn.Query(testContext(t),
		"select server_id, session_id, last_update_timestamp, replica_lag_in_msec, durable_lsn from aurora_replica_status()")
	must(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[member])
	must(t, err)
	all := map[string]member{}
	for _, m := range list {
		all[m.ServerID] = m
	}
	return all
}

func TestAuroraTellsItsMembers(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	ctx := testContext(t)
	var session string
	for _, in := range c.Instances() {
		conn := connect(t, c, c.InstanceDSN(in))
		if got := ask(t, conn, "select aurora_db_instance_identifier()"); got != in.ID() {
			t.Errorf("%s calls itself %s", in.ID(), got)
		}
		if got := ask(t, conn, "select aurora_version()"); !strings.HasSuffix(got, ".0") {
			t.Errorf("version %s", got)
		}
		all := members(t, conn)
		if len(all) != 3 || all["app-1"].SessionID != "MASTER_SESSION_ID" || len(all["app-2"].SessionID) != 36 {
			t.Errorf("%s tells %+v", in.ID(), all)
		}
		for id, m := range all {
			if (m.LastUpdate == nil) != (id == in.ID()) {
				t.Errorf("%s tells of %s an update of %v", in.ID(), id, m.LastUpdate)
			}
			if (m.Lag == nil) != (id == "app-1") {
				t.Errorf("%s tells of %s a lag of %v", in.ID(), id, m.Lag)
			}
		}
		session = all["app-2"].SessionID
	}
	// The status is renewed, but for an instance that is not heard of.
	r := c.Instances()[1]
	must(t, c.Freeze(ctx, r))
	conn := connect(t, c, c.DSN())
	frozen := *members(t, conn)["app-2"].LastUpdate
	healthy := *members(t, conn)["app-3"].LastUpdate
	eventually(t, "the status of app-3 is renewed", func() bool { return members(t, conn)["app-3"].LastUpdate.After(healthy) })
	if now := *members(t, conn)["app-2"].LastUpdate; now.After(frozen.Add(time.Second)) {
		t.Errorf("a frozen instance was heard of at %v, and it was frozen at %v", now, frozen)
	}
	must(t, c.Thaw(ctx, r))
	must(t, c.WaitSettled(ctx))
	must(t, c.Restart(ctx, r))
	if got := members(t, conn)["app-2"].SessionID; got == session {
		t.Error("a restarted instance has its old session")
	}
	next, err := c.Failover(ctx)
	must(t, err)
	all := members(t, connect(t, c, c.InstanceDSN(next)))
	if all[next.ID()].SessionID != "MASTER_SESSION_ID" || all["app-1"].SessionID == "MASTER_SESSION_ID" {
		t.Errorf("the new writer %s tells %+v", next.ID(), all)
	}
}

func TestAuroraRefusesWhatAuroraRefuses(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1})
	ctx := testContext(t)
	conn := connect(t, c, c.DSN())
	refusals := map[string]string{
		"select pg_current_wal_lsn()":                 "55000",
		"select pg_current_wal_insert_lsn()":          "55000",
		"select pg_current_wal_flush_lsn()":           "55000",
		"select pg_walfile_name('0/1000000')":         "55000",
		"select * from pg_walfile_name_offset('0/0')": "55000",
		"select pg_last_wal_receive_lsn()":            "0A000",
		"select pg_last_wal_replay_lsn()":             "0A000",
		"select pg_last_xact_replay_timestamp()":      "0A000",
		"select rdstest_pg_current_wal_lsn()":         "42501",
	}
	for sql, want := range refusals {
		if _, err := conn.Exec(ctx, sql); code(err) != want {
			t.Errorf("%s: %v, want %s", sql, err, want)
		}
	}
	// So it is in a database that somebody makes.
	execute(t, admin(t, c, c.Writer()), "create database other owner app")
	other := connect(t, c, strings.Replace(c.DSN(), "/app?", "/other?", 1))
	if got := ask(t, other, "select aurora_db_instance_identifier()"); got != "app-1" {
		t.Errorf("in another database it is %s", got)
	}
	if _, err := other.Exec(ctx, "select pg_current_wal_lsn()"); code(err) != "55000" {
		t.Errorf("in another database: %v", err)
	}

	for _, cfg := range []rdstest.Config{{Readers: -1, WALFunctions: true}, {Readers: -1, Flavor: rdstest.Replication}} {
		c := rdstest.Start(t, cfg)
		conn := connect(t, c, c.DSN())
		if got := ask(t, conn, "select pg_walfile_name(pg_current_wal_lsn())::text"); len(got) != 24 {
			t.Errorf("%+v: the WAL file is %q", cfg, got)
		}
		_, err := conn.Exec(ctx, "select aurora_version()")
		if want := cfg.Flavor == rdstest.Replication; (code(err) == "42883") != want {
			t.Errorf("%+v: the version gives %v", cfg, err)
		}
	}
}
