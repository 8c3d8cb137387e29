package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

type poolerCmd struct {
	Config        string        `placeholder:"FILE" env:"FAIRLEAD_CONFIG" help:"A YAML file that says everything; the flags below are for the simple case."`
	Listen        []string      `placeholder:"ADDRESS" env:"FAIRLEAD_LISTEN" help:"Where clients come in: host:port, or the path of a Unix socket; may be repeated."`
	DSN           string        `name:"dsn" env:"FAIRLEAD_DSN" help:"How the pooler reaches the cluster; a DSN of fairlead's driver."`
	Mode          pooler.Mode   `default:"transaction" enum:"transaction,session" env:"FAIRLEAD_MODE" help:"How long a client keeps a server connection: for a transaction, or for its session (default: ${default})."`
	PoolSize      int           `default:"20" env:"FAIRLEAD_POOL_SIZE" help:"How many server connections there are at most for each database (default: ${default})."`
	BorrowTimeout time.Duration `name:"connection-borrow-timeout" default:"120s" env:"FAIRLEAD_CONNECTION_BORROW_TIMEOUT" help:"How long a client waits for one before it gets SQLSTATE 53300 (default: ${default})."`
	Check         bool          `help:"Say whether the configuration makes sense, and leave it at that."`
	Debug         bool          `help:"Log more, such as why a client was not let in."`
}

// Help is shown by kong under the flags' list.
func (poolerCmd) Help() string {
	return `Clients of any language connect to the pooler as to a PostgreSQL server. Many of them share few server connections, and their
sessions outlive the server: when another instance becomes the writer, they go on there.

On loopback addresses, and on Unix sockets for the user that it runs as, the pooler lets in without a password the user that the DSN
names. For anything else users are needed, in a file.

SIGHUP reads the file again: users and limits of clients change at once, the rest with a restart. SIGTERM lets nobody in any more and
waits for the transactions that are open.

Examples:

    fairlead pooler --listen 127.0.0.1:6432 --dsn "postgres://app:secret@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app"
    fairlead pooler --config /etc/fairlead/pooler.yaml --check`
}

// Run is called by kong.
func (cmd poolerCmd) Run(ctx context.Context, c console) error {
	level := slog.LevelInfo
	if cmd.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
	cfg, err := cmd.load()
	if err != nil {
		return err
	}
	cfg.Logger = log
	server, err := pooler.New(cfg)
	if err != nil {
		return err
	}
	if cmd.Check {
		fmt.Fprintln(c.out, "the configuration is sound")
		return nil
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reading := make(chan struct{})
	running, stop := context.WithCancel(ctx)
	go func() {
		defer close(reading)
		cmd.reload(running, server, hup, log)
	}()
	err = server.Run(ctx)
	stop()
	<-reading
	return err
}

// reload reads the file again at each signal, until ctx ends.
func (cmd poolerCmd) reload(ctx context.Context, server *pooler.Server, hup <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		cfg, err := cmd.load()
		if err == nil {
			cfg.Logger = log
			err = server.Reload(cfg)
		}
		if err != nil {
			log.Error("the configuration stays as it was", "error", err)
			continue
		}
		log.Info("the configuration was read again")
	}
}

// load makes a Config of the flags, or of the file.
func (cmd poolerCmd) load() (pooler.Config, error) {
	if cmd.Config != "" {
		if len(cmd.Listen) > 0 || cmd.DSN != "" {
			return pooler.Config{}, errors.New("pooler: --config together with --listen or --dsn: what they say belongs into the file")
		}
		text, err := os.ReadFile(cmd.Config)
		if err != nil {
			return pooler.Config{}, fmt.Errorf("pooler: %w", err)
		}
		cfg, err := pooler.ParseConfig(text)
		if err != nil {
			return pooler.Config{}, fmt.Errorf("pooler: %s: %s", cmd.Config, strings.TrimPrefix(err.Error(), "pooler: "))
		}
		return cfg, nil
	}
	if cmd.DSN == "" || len(cmd.Listen) == 0 {
		return pooler.Config{}, errors.New("pooler: --listen and --dsn are needed, or --config")
	}
	database, err := driver.ParseConfig(cmd.DSN)
	if err != nil {
		return pooler.Config{}, err
	}
	cfg := pooler.Config{Cluster: pooler.Cluster{
		Database: database, Mode: cmd.Mode, PoolSize: cmd.PoolSize, BorrowTimeout: cmd.BorrowTimeout,
	}}
	for _, address := range cmd.Listen {
		cfg.Listeners = append(cfg.Listeners, pooler.Listener{Address: address})
	}
	return cfg, nil
}
