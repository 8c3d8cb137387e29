// Package migrations shows what becomes of a migration whose database loses its writer in its midst, with pgx alone and with Fairlead.
package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	pgxv5 "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

const (
	first = "create table ports (id serial primary key, name text)"
	// second takes long enough for the writer to fail in its midst.
	second = "create table ships (id serial primary key, name text); select pg_sleep(3); create index on ships (name)"
)

// tool runs all migrations that are missing, once.
type tool func(ctx context.Context, db *sql.DB) error

func golangMigrate(_ context.Context, db *sql.DB) error {
	m, err := migrator(db)
	if err != nil {
		return err
	}
	err = m.Up()
	if errors.Is(err, migrate.ErrNoChange) {
		err = nil
	}
	_, closing := m.Close()
	if err == nil {
		err = closing
	}
	return err
}

func migrator(db *sql.DB) (*migrate.Migrate, error) {
	files, err := iofs.New(fstest.MapFS{
		"1_first.up.sql": {Data: []byte(first)}, "2_second.up.sql": {Data: []byte(second)},
	}, ".")
	if err != nil {
		return nil, err
	}
	target, err := pgx.WithInstance(db, &pgx.Config{})
	if err != nil {
		return nil, err
	}
	return migrate.NewWithInstance("iofs", files, "pgx", target)
}

// gooseWith is goose, whose migrations are transactions unless they say otherwise.
func gooseWith(locked, transaction bool) tool {
	annotated := func(statements ...string) []byte {
		text := "-- +goose Up\n"
		if !transaction {
			text = "-- +goose NO TRANSACTION\n" + text
		}
		for _, s := range statements {
			text += s + ";\n"
		}
		return []byte(text)
	}
	return func(ctx context.Context, db *sql.DB) error {
		var options []goose.ProviderOption
		if locked {
			locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 30), lock.WithUnlockTimeout(1, 3))
			if err != nil {
				return err
			}
			options = append(options, goose.WithSessionLocker(locker))
		}
		p, err := goose.NewProvider(goose.DialectPostgres, db, fstest.MapFS{
			"1_first.sql":  {Data: annotated(first)},
			"2_second.sql": {Data: annotated("create table ships (id serial primary key, name text)", "select pg_sleep(3)", "create index on ships (name)")},
		}, options...)
		if err != nil {
			return err
		}
		_, err = p.Up(ctx)
		return err
	}
}

// outcome is what a run that lost its writer has left behind.
type outcome struct {
	err     error // of the run
	applied bool  // the second migration is there, as a whole
	half    bool  // a part of it is
	dirty   bool  // golang-migrate's mark
	again   error // of the run after it
	healed  bool  // the second migration is there after that
}

func (o outcome) String() string {
	return fmt.Sprintf("applied %t, half %t, dirty %t, the next run succeeds %t and leaves it applied %t\n  error: %v\n  the next run's: %v",
		o.applied, o.half, o.dirty, o.again == nil, o.healed, o.err, o.again)
}

// way is how a tool's sql.DB is made.
type way struct {
	name string
	open func(c *rdstest.Cluster) (*sql.DB, error)
}

var ways = []way{
	{"pgx alone", func(c *rdstest.Cluster) (*sql.DB, error) {
		cfg, err := pgxv5.ParseConfig(c.MultiHostDSN() + "&target_session_attrs=read-write")
		if err != nil {
			return nil, err
		}
		cfg.LookupFunc = c.LookupHost
		return stdlib.OpenDB(*cfg), nil
	}},
	{"fairlead", func(c *rdstest.Cluster) (*sql.DB, error) { return through(c, c.MultiHostDSN()) }},
	{"fairlead, continuity=off", func(c *rdstest.Cluster) (*sql.DB, error) { return through(c, c.MultiHostDSN()+"&continuity=off") }},
}

func through(c *rdstest.Cluster, dsn string) (*sql.DB, error) {
	cfg, err := driver.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.Resolver = c.Resolver() // the names of a test cluster are known to it alone
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// lose runs a tool, and has the writer fail in the midst of the second migration.
func lose(t *testing.T, run tool, by way) (o outcome) {
	t.Helper()
	c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	open := func() *sql.DB {
		db, err := by.open(c)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, db) }()
	awaitSleep(ctx, t, c)
	if _, err := c.Failover(ctx); err != nil {
		t.Fatal(err)
	}
	o.err = <-ended
	_ = db.Close() // the program ends, as a migration's does
	look := open()
	defer look.Close()
	o.applied, o.half, o.dirty = state(ctx, t, look)
	db = open()
	defer db.Close()
	o.again = run(ctx, db)
	o.healed, _, _ = state(ctx, t, look)
	return o
}

// awaitSleep waits until the second migration runs.
func awaitSleep(ctx context.Context, t *testing.T, c *rdstest.Cluster) {
	t.Helper()
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	for n := 0; n == 0; {
		if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func state(ctx context.Context, t *testing.T, db *sql.DB) (applied, half, dirty bool) {
	t.Helper()
	var table, index, marks bool
	err := db.QueryRowContext(ctx, "select to_regclass('ships') is not null, to_regclass('ships_name_idx') is not null, to_regclass('schema_migrations') is not null").Scan(&table, &index, &marks)
	if err != nil {
		t.Fatal(err)
	}
	if marks {
		if err := db.QueryRowContext(ctx, "select coalesce(bool_or(dirty), false) from schema_migrations").Scan(&dirty); err != nil {
			t.Fatal(err)
		}
	}
	return table && index, table != index, dirty
}

func TestTheWriterFailsInAMigration(t *testing.T) {
	for name, run := range map[string]tool{
		"golang-migrate":                        golangMigrate,
		"goose":                                 gooseWith(false, true),
		"goose, with a lock":                    gooseWith(true, true),
		"goose, with a lock and no transaction": gooseWith(true, false),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(map[string]outcome)
			for _, by := range ways {
				got[by.name] = lose(t, run, by)
				t.Logf("%s: %v", by.name, got[by.name])
			}
			pgx := got["pgx alone"]
			if pgx.err == nil {
				t.Error("pgx alone lost nothing: the writer has not failed in the migration")
			}
			for by, o := range got {
				switch {
				case o.err == nil && !o.applied:
					t.Errorf("%s: no error, and the migration is not there", by)
				case o.half && !pgx.half, o.dirty && !pgx.dirty, o.again != nil && pgx.again == nil, !o.healed && pgx.healed:
					t.Errorf("%s: worse than with pgx alone", by)
				}
			}
			if o := got["fairlead"]; name == "goose" && (o.err != nil || !o.applied) {
				t.Errorf("a migration that is a transaction is not replayed: %v", o)
			}
		})
	}
}
