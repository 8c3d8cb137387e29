package main

import (
	"context"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/doctor"
)

type doctorCmd struct {
	DSN     string        `arg:"" help:"The DSN of the application, in either form; what it leaves out comes from the environment, as there."`
	JSON    bool          `name:"json" help:"Print JSON, for programs."`
	Timeout time.Duration `default:"1m" help:"How long everything may take together."`
}

// Help is shown by kong under the flags' list.
func (doctorCmd) Help() string {
	return `It looks, in this order, at: the names, the way to the hosts, TLS, AWS credentials and the clock, the token or the secret, the login,
privileges, who is the writer, the other instances, how commits are decided, and the server's limits. A step that needs an earlier one that
failed is skipped. Nothing is changed anywhere, and no password and no token is printed.

The exit code is 0 if nothing has failed, 1 if something has.

Examples:

    fairlead doctor "postgres://app@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app?auth=iam"
    fairlead doctor --json "host=10.0.0.1,10.0.0.2 user=app" | jq '.checks[] | select(.status == "failed")'`
}

// Run is called by kong.
func (cmd doctorCmd) Run(ctx context.Context, c console) error {
	cfg, err := driver.ParseConfig(cmd.DSN)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.Timeout)
	defer cancel()
	report := doctor.Examine(ctx, cfg)
	if cmd.JSON {
		err = report.PrintJSON(c.out)
	} else {
		err = report.Print(c.out)
	}
	if err == nil && !report.Healthy() {
		err = errFound
	}
	return err
}
