package topology

import (
	"context"
	"fmt"
)

// probeMembers asks for the instance's own state and its view of the others, who are in storage-level replication with it and
// write down how they are about once a second.
const probeMembers = `select me.in_recovery, me.read_only, m.server_id, m.session_id operator(pg_catalog.=) 'MASTER_SESSION_ID', m.replica_lag_in_msec,` +
	` extract(epoch from pg_catalog.now() operator(pg_catalog.-) m.last_update_timestamp) operator(pg_catalog.*) 1000` +
	` from (select pg_catalog.pg_is_in_recovery() as in_recovery, pg_catalog.current_setting('default_transaction_read_only') as read_only) me` +
	` left join pg_catalog.aurora_replica_status() m on true`

// probeAurora asks an Aurora instance.
func (s *postgresSession) probeAurora(ctx context.Context) (Report, error) {
	r := s.fixed
	all, err := s.wire.query(ctx, probeMembers)
	if err != nil {
		return r, err
	}
	if all[0].err != nil {
		return r, fmt.Errorf("ask aurora_replica_status: %w", all[0].err)
	}
	if len(all[0].rows) == 0 {
		return r, fmt.Errorf("ask aurora_replica_status: no rows")
	}
	for _, row := range all[0].rows {
		if len(row) < 6 {
			return r, fmt.Errorf("ask aurora_replica_status: %d columns", len(row))
		}
		r.InRecovery, r.ReadOnly = row[0] == "t", row[1] == "on"
		if row[2] == "" {
			continue
		}
		m := Member{ID: row[2], IsWriter: row[3] == "t", Lag: milliseconds(row[4]), LastUpdate: milliseconds(row[5])}
		if m.IsWriter {
			r.WriterID, m.Lag = m.ID, 0
		}
		if m.ID == r.ID {
			r.Lag = m.Lag
		}
		r.Members = append(r.Members, m)
	}
	return r, nil
}
