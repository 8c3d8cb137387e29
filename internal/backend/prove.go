package backend

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/topology"
)

// Prove logs in to the writer as somebody else, with a credential that is sent over TLS alone, and to the cluster's own hosts
// alone; has ask use the connection; and closes it. Each try is bounded by connect_timeout.
func (l *Login) Prove(ctx context.Context, c credentials.Credential, ask func(context.Context, *pgconn.PgConn) error) error {
	in, _, err := l.Cluster.Pick(ctx, topology.WantWriter, 0)
	if err != nil {
		return &NotLoggedInError{Want: topology.WantWriter, Err: err}
	}
	cfg := l.config(in.Endpoint, in.Addrs)
	cfg.User = c.User
	cfg.RuntimeParams = map[string]string{"application_name": "fairlead-login", "search_path": "pg_catalog"}
	pg, err := l.enterWith(ctx, cfg, credentials.Static(c))
	if err != nil {
		return err
	}
	defer func() { _ = pg.Close(ctx) }()
	return ask(ctx, pg)
}
