package orm

import (
	"context"
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// names are what the mappers below read.
var names = []string{"Altair", "Deneb", "Vega"}

// fleet is a cluster with a table, and what stands for its DSN in sql.Open.
func fleet(t *testing.T) (c *rdstest.Cluster, dsn string) {
	t.Helper()
	c = rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication}) // whose commits are decided without a table
	cfg, err := driver.ParseConfig(c.AddressDSN())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Resolver = c.Resolver() // the names of a test cluster are known to it alone
	dsn = driver.RegisterConfig(cfg)
	t.Cleanup(func() { driver.UnregisterConfig(dsn) })
	db, err := sql.Open("fairlead", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("create table stars (id serial primary key, name text not null, rank int not null)"); err != nil {
		t.Fatal(err)
	}
	return c, dsn
}

// swap runs what a mapper writes before a failover, and what it reads after it.
func swap(t *testing.T, c *rdstest.Cluster, write func(name string, rank int) error, read func(above int) ([]string, error)) {
	t.Helper()
	for i, name := range names {
		if err := write(name, i); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if _, err := c.Failover(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	found, err := read(0)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[0] != "Deneb" || found[1] != "Vega" {
		t.Errorf("%q", found)
	}
}

func TestSqlx(t *testing.T) {
	c, dsn := fleet(t)
	sqlx.BindDriver("fairlead", sqlx.DOLLAR) // the line: sqlx knows drivers by their names
	db, err := sqlx.Open("fairlead", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	swap(t, c, func(name string, rank int) error {
		_, err := db.NamedExec("insert into stars (name, rank) values (:name, :rank)", map[string]any{"name": name, "rank": rank})
		return err
	}, func(above int) (found []string, err error) {
		return found, db.Select(&found, db.Rebind("select name from stars where rank > ? order by name"), above)
	})
}

func TestSqlxOverADatabase(t *testing.T) {
	c, dsn := fleet(t)
	plain, err := sql.Open("fairlead", dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sqlx.NewDb(plain, "pgx") // or so, where the sql.DB is made by hand
	defer db.Close()
	swap(t, c, func(name string, rank int) error {
		_, err := db.NamedExec("insert into stars (name, rank) values (:name, :rank)", map[string]any{"name": name, "rank": rank})
		return err
	}, func(above int) (found []string, err error) {
		return found, db.Select(&found, db.Rebind("select name from stars where rank > ? order by name"), above)
	})
}

func TestEnt(t *testing.T) {
	c, dsn := fleet(t)
	plain, err := sql.Open("fairlead", dsn)
	if err != nil {
		t.Fatal(err)
	}
	drv := entsql.OpenDB(dialect.Postgres, plain) // the line: not entsql.Open, which takes the driver's name for the dialect
	defer drv.Close()
	// A generated client is made of it by ent.NewClient(ent.Driver(drv)); this is what such a client does.
	swap(t, c, func(name string, rank int) error {
		query, args := entsql.Dialect(drv.Dialect()).Insert("stars").Columns("name", "rank").Values(name, rank).Returning("id").Query()
		var rows entsql.Rows
		if err := drv.Query(context.Background(), query, args, &rows); err != nil {
			return err
		}
		defer rows.Close()
		_, err := entsql.ScanInt(rows)
		return err
	}, func(above int) (found []string, err error) {
		d := entsql.Dialect(drv.Dialect())
		query, args := d.Select("name").From(d.Table("stars")).Where(entsql.GT("rank", above)).OrderBy("name").Query()
		var rows entsql.Rows
		if err := drv.Query(context.Background(), query, args, &rows); err != nil {
			return nil, err
		}
		defer rows.Close()
		return found, entsql.ScanSlice(rows, &found)
	})
}

type star struct {
	bun.BaseModel `bun:"table:stars"`
	ID            int64 `bun:",pk,autoincrement"`
	Name          string
	Rank          int
}

func TestBun(t *testing.T) {
	c, dsn := fleet(t)
	plain, err := sql.Open("fairlead", dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := bun.NewDB(plain, pgdialect.New()) // as it is with any driver
	defer db.Close()
	ctx := context.Background()
	swap(t, c, func(name string, rank int) error {
		_, err := db.NewInsert().Model(&star{Name: name, Rank: rank}).Exec(ctx)
		return err
	}, func(above int) (found []string, err error) {
		return found, db.NewSelect().Model((*star)(nil)).Column("name").Where("rank > ?", above).Order("name").Scan(ctx, &found)
	})
}

func TestGorm(t *testing.T) {
	c, dsn := fleet(t)
	// The line: postgres.Open(dsn) would be pgx alone.
	db, err := gorm.Open(postgres.New(postgres.Config{DriverName: "fairlead", DSN: dsn}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	swap(t, c, func(name string, rank int) error {
		return db.Table("stars").Create(map[string]any{"name": name, "rank": rank}).Error
	}, func(above int) (found []string, err error) {
		return found, db.Table("stars").Where("rank > ?", above).Order("name").Pluck("name", &found).Error
	})
}
