package topology

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// The timeline comes from the name of the WAL file being written: pg_control_checkpoint() lags behind after a promotion. A
// standby's timeline is left unknown, as what it shows of it to an ordinary user lags too.
const (
	probeStanding = `select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only'),` +
		` case when not pg_catalog.pg_is_in_recovery() then 0` +
		` when pg_catalog.pg_last_wal_receive_lsn() operator(pg_catalog.=) pg_catalog.pg_last_wal_replay_lsn() then 0` +
		` else extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) operator(pg_catalog.*) 1000 end`
	probeTimeline = `, case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) end`
	// After a recovery, what was replayed last stays as it is until the server's next start; without one it is null.
	probeRecovery = `, case when not pg_catalog.pg_is_in_recovery() then coalesce(pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text, '` + noRecovery + `') end`
	noRecovery    = `none`
	probeCoarse   = `select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only'), -1`
)

// probeReplication asks a server of streaming replication, or one that stands alone.
func (s *postgresSession) probeReplication(ctx context.Context) (Report, error) {
	r := s.fixed
	sql := probeStanding + probeTimeline + probeRecovery
	if s.coarse {
		sql = probeCoarse
	}
	all, err := s.wire.query(ctx, sql)
	if err != nil {
		return r, err
	}
	if all[0].err != nil && !s.coarse {
		// Some of its functions are not for this user, or raise: what can be known is asked from now on.
		s.coarse = true
		return s.probeReplication(ctx)
	}
	if all[0].err != nil {
		return r, fmt.Errorf("ask the recovery state: %w", all[0].err)
	}
	if len(all[0].rows) != 1 || len(all[0].rows[0]) < 3 {
		return r, fmt.Errorf("ask the recovery state: %d rows", len(all[0].rows))
	}
	row := all[0].rows[0]
	r.InRecovery, r.ReadOnly, r.Lag = row[0] == "t", row[1] == "on", milliseconds(row[2])
	if len(row) > 3 && len(row[3]) >= 8 {
		if tli, err := strconv.ParseUint(row[3][:8], 16, 32); err == nil {
			r.Timeline = uint32(tli)
		}
	}
	if len(row) > 4 && !r.InRecovery {
		r.RecoveryEnd, r.RecoveryEndKnown = recoveryEnd(row[4])
	}
	return r, nil
}

// recoveryEnd reads a position in the WAL, or that there is none.
func recoveryEnd(text string) (uint64, bool) {
	if text == noRecovery {
		return 0, true
	}
	high, low, _ := strings.Cut(text, "/")
	h, errH := strconv.ParseUint(high, 16, 32)
	l, errL := strconv.ParseUint(low, 16, 32)
	return h<<32 | l, errH == nil && errL == nil && h|l != 0
}
