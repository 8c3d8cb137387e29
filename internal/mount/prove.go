package mount

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/credentials"
)

// Prove logs in to the writer with somebody else's credential, has ask use the connection, and closes it. The Pool is one that
// somebody holds.
func (p *Pool) Prove(ctx context.Context, c credentials.Credential, ask func(context.Context, *pgconn.PgConn) error) error {
	p.watch()
	return p.login.Prove(ctx, c, ask)
}
