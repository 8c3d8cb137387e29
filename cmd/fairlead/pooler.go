package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/fairlead-go/fairlead/internal/poolset"
	"github.com/fairlead-go/fairlead/pooler"
)

type poolerCmd struct {
	Config string `placeholder:"FILE" env:"FAIRLEAD_CONFIG" help:"A YAML file that says everything; the other flags are for one cluster."`
	Check  bool   `help:"Say whether the configuration makes sense, and leave it at that."`
	Debug  bool   `name:"debug-logging" aliases:"debug" env:"FAIRLEAD_DEBUG_LOGGING" help:"Log more, such as why a client was not let in."`

	kong.Plugins // a flag for each of poolset.Parameters
}

// newPoolerCmd has the flags of all parameters.
func newPoolerCmd() poolerCmd {
	fields := make([]reflect.StructField, len(poolset.Parameters))
	for i, p := range poolset.Parameters {
		help := strings.ReplaceAll(p.Effect, "`", "")
		if p.Default != "" {
			help += " Default " + p.Default + "."
		}
		fields[i] = reflect.StructField{
			Name: "P" + strconv.Itoa(i), Type: reflect.TypeFor[[]string](),
			Tag: reflect.StructTag(fmt.Sprintf(`name:%q env:%q sep:"none" placeholder:"VALUE" help:%q`, p.Flag(), p.Variable(), help)),
		}
	}
	return poolerCmd{Plugins: kong.Plugins{reflect.New(reflect.StructOf(fields)).Interface()}}
}

// values are those that a parameter was given.
func (cmd poolerCmd) values(i int) []string {
	return reflect.ValueOf(cmd.Plugins[0]).Elem().Field(i).Interface().([]string)
}

// Help is shown by kong under the flags' list.
func (poolerCmd) Help() string {
	return `Clients of any language connect to the pooler as to a PostgreSQL server. Many of them share few server connections, and their
sessions outlive the server: when another instance becomes the writer, they go on there.

On loopback addresses, and on Unix sockets for the user that it runs as, the pooler lets in without a password the user that the DSN
names. For anything else users are needed, in a file.

SIGHUP reads the file again: listeners, clusters, users, limits and timeouts change while clients are served. A file that makes no
sense changes nothing. SIGTERM lets nobody in any more and waits for the transactions that are open; a second one cuts them off.

Each flag for which a file has a key can also be given as a variable: FAIRLEAD_POOL_SIZE for --pool-size.

Examples:

    fairlead pooler --listen 127.0.0.1:6432 --dsn "postgres://app:secret@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app"
    fairlead pooler --config /etc/fairlead/pooler.yaml --check`
}

// Run is called by kong.
func (cmd poolerCmd) Run(ctx context.Context, c console) error {
	var level slog.LevelVar
	log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: &level}))
	read := func() (pooler.Config, error) {
		cfg, err := cmd.load()
		if err != nil {
			return cfg, err
		}
		level.Set(slog.LevelInfo)
		if cmd.Debug || cfg.DebugLogging == pooler.DebugOn {
			level.Set(slog.LevelDebug)
		}
		return cfg, nil
	}
	for _, text := range poolset.Unknown(os.Environ(), "FAIRLEAD_CONFIG", "FAIRLEAD_DEBUG_LOGGING") {
		log.Warn(text)
	}
	cfg, err := read()
	if err != nil {
		return err
	}
	cfg.Logger, cfg.Source = log, read
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
		reload(running, server, read, hup, log)
	}()
	over := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() { cutOff(ctx, over, server) })
	err = server.Run(ctx)
	close(over)
	waiting.Wait()
	stop()
	<-reading
	return err
}

// cutOff ends the wait for open transactions at the next signal behind the one that has ended ctx.
func cutOff(ctx context.Context, over <-chan struct{}, server *pooler.Server) {
	select {
	case <-over:
		return
	case <-ctx.Done():
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	select {
	case <-over:
	case <-again:
		server.Shutdown(ctx)
	}
}

// reload reads the file again at each signal, until ctx ends.
func reload(ctx context.Context, server *pooler.Server, read func() (pooler.Config, error), hup <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		cfg, err := read()
		if err == nil {
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
	var set poolset.Set
	for i, p := range poolset.Parameters {
		value := strings.Join(cmd.values(i), ",")
		if value == "" {
			continue // a variable may be there, and empty
		}
		if cmd.Config != "" {
			return pooler.Config{}, fmt.Errorf("pooler: --config together with --%s or %s: what it says belongs into the file", p.Flag(), p.Variable())
		}
		if err := p.Set(&set, value); err != nil {
			return pooler.Config{}, fmt.Errorf("pooler: --%s: %w", p.Flag(), err)
		}
	}
	if cmd.Config != "" {
		text, err := os.ReadFile(cmd.Config)
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = path.Err // a DSN may be in the path's place
		}
		if err != nil {
			return pooler.Config{}, fmt.Errorf("pooler: --config: the file cannot be read: %w", err)
		}
		cfg, err := pooler.ParseConfig(text)
		if err != nil {
			return pooler.Config{}, fmt.Errorf("pooler: %s: %s", cmd.Config, strings.TrimPrefix(err.Error(), "pooler: "))
		}
		return cfg, nil
	}
	if set.DSN == "" || len(set.Listen) == 0 {
		return pooler.Config{}, errors.New("pooler: --listen and --dsn are needed, or --config")
	}
	return set.Config()
}
