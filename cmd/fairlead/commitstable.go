package main

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/commit"
)

type commitsTableCmd struct {
	Apply string `placeholder:"DSN" help:"Run the SQL in this database instead of printing it, as a role that may create a schema. A DSN of fairlead's: the writer is found."`
}

// Help is shown by kong under the flags' list.
func (commitsTableCmd) Help() string {
	return `A commit whose answer was lost with its server can be decided if the transaction has left a mark that only its commit makes visible.
This is the SQL for the table of these marks, fairlead.commits, and the functions that reach it. It is needed once in each
database, does no harm when it is run again, and gives nobody access to the table itself.

Without it, fairlead decides commits by transaction ID and WAL position where the server lets it (plain streaming
replication), and reports them as undecided (SQLSTATE 08007) everywhere else, as on Aurora.

Examples:

    fairlead commits-table > migrations/0042_fairlead.sql
    fairlead commits-table --apply "postgres://admin@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app?sslmode=verify-full"`
}

// Run is called by kong.
func (cmd commitsTableCmd) Run(ctx context.Context, c console) error {
	if cmd.Apply == "" {
		_, err := io.WriteString(c.out, commit.Migration())
		return err
	}
	cfg, err := driver.ParseConfig(cmd.Apply)
	if err != nil {
		return err
	}
	connConfig, err := driver.ConnConfig(cfg)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, connConfig)
	if err != nil {
		return fmt.Errorf("commits-table: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, commit.Migration()); err != nil {
		return fmt.Errorf("commits-table: %w", err)
	}
	_, err = fmt.Fprintf(c.out, "fairlead.commits is in place in database %q\n", connConfig.Database)
	return err
}
