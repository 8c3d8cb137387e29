package lambdadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/fairlead-go/fairlead/driver"
)

// Defaults of a Config, which stand for zero values.
const (
	DefaultMaxConns    = 10
	DefaultWarmTimeout = 2 * time.Second
	DefaultMargin      = 250 * time.Millisecond
	DefaultFreezeIdle  = time.Minute
)

// Config says which database a function has. Its zero value is the one that FAIRLEAD_DSN names.
type Config struct {
	// Database is how it is reached, from driver.ParseConfig. Default: the variable FAIRLEAD_DSN.
	Database *driver.Config
	// MaxConns bounds the open connections, and how many of them are kept. Default DefaultMaxConns. A sandbox has one
	// invocation at a time, except on Managed Instances.
	MaxConns int
	// WarmTimeout bounds the wait for the first connection in Open. Default DefaultWarmTimeout.
	WarmTimeout time.Duration
	// Margin is how long before the end of an invocation its context ends; at most a tenth of the invocation's time. Default
	// DefaultMargin.
	Margin time.Duration
	// FreezeIdle is how long a connection may be idle until the server closes it, which frees the server of sandboxes that are
	// frozen (idle_session_timeout; PostgreSQL 14 and later). Default DefaultFreezeIdle; negative: for ever.
	FreezeIdle time.Duration
	// Logger gets what an operator acts on. Default: no logs.
	Logger *slog.Logger
}

// DB is a database of a function.
type DB struct {
	*sql.DB
	margin time.Duration
}

// Open returns the database, and in most cases a connection to it is open then. That there is none is logged and no error,
// since the first invocation may find the database back; a configuration that cannot work is one.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&cfg.WarmTimeout, DefaultWarmTimeout}, {&cfg.Margin, DefaultMargin}, {&cfg.FreezeIdle, DefaultFreezeIdle}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.Database == nil {
		dsn := os.Getenv("FAIRLEAD_DSN")
		if dsn == "" {
			return nil, errors.New("lambdadb: FAIRLEAD_DSN is not set: set it to the database's DSN, or give a Config.Database")
		}
		database, err := driver.ParseConfig(dsn)
		if err != nil {
			return nil, fmt.Errorf("lambdadb: FAIRLEAD_DSN: %w", err)
		}
		cfg.Database = database
	}
	database := cfg.Database.Copy()
	if _, given := database.Conn.RuntimeParams["idle_session_timeout"]; !given && cfg.FreezeIdle > 0 {
		database.Conn.RuntimeParams["idle_session_timeout"] = strconv.FormatInt(cfg.FreezeIdle.Milliseconds(), 10)
	}
	if database.Logger == nil {
		database.Logger = cfg.Logger
	}
	connector, err := driver.NewConnector(database)
	if err != nil {
		return nil, fmt.Errorf("lambdadb: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	ctx, cancel := context.WithTimeout(ctx, cfg.WarmTimeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		cfg.Logger.Warn("lambdadb: no connection in Init; the first invocation makes one", "error", err)
	}
	return &DB{DB: db, margin: cfg.Margin}, nil
}
