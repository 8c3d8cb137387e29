// Package orm shows object mappers over Fairlead.
package orm

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

type ship struct {
	ID    uint
	Name  string
	Tons  int
	Ports []port
}

type port struct {
	ID     uint
	ShipID uint
	Name   string
}

func TestGormGoesOnAcrossFailovers(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	cfg, err := driver.ParseConfig(c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Resolver = c.Resolver()
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn := sql.OpenDB(connector)
	defer conn.Close()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: conn}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	check := func(tx *gorm.DB) {
		t.Helper()
		if tx.Error != nil {
			t.Fatal(tx.Error)
		}
	}
	failover := func() {
		t.Helper()
		if _, err := c.Failover(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.AutoMigrate(&ship{}, &port{}); err != nil {
		t.Fatal(err)
	}
	check(db.Create(&ship{Name: "Vega", Tons: 900, Ports: []port{{Name: "Turku"}, {Name: "Kiel"}}}))

	failover()

	var found ship
	check(db.Preload("Ports").First(&found, "name = ?", "Vega"))
	if len(found.Ports) != 2 {
		t.Errorf("%d ports, want 2", len(found.Ports))
	}
	check(db.Model(&found).Update("tons", 950))

	failover()

	err = db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&ship{Name: "Mira", Tons: 100}).Error; err != nil {
			return err
		}
		return tx.Model(&found).Update("tons", gorm.Expr("tons + ?", 50)).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	stay := errors.New("stay")
	err = db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&port{}, "ship_id = ?", found.ID).Error; err != nil {
			return err
		}
		return stay
	})
	if !errors.Is(err, stay) {
		t.Fatal(err)
	}
	var tons int
	check(db.Raw("select sum(tons) from ships").Scan(&tons))
	if tons != 1100 {
		t.Errorf("%d tons, want 1100", tons)
	}
}

// An application that goes on behind an error of a nested transaction, which gorm rolls back to its savepoint, learns from whatever it
// does next that the transaction is lost, and can run it again.
func TestALostNestedTransactionCanBeRunAgain(t *testing.T) {
	ctx := context.Background()
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	cfg, err := driver.ParseConfig(c.DSN())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Resolver = c.Resolver()
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn := sql.OpenDB(connector)
	defer conn.Close()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: conn}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.AutoMigrate(&ship{}, &port{}); err != nil {
		t.Fatal(err)
	}
	// The key that the ship is given cannot come again: its sequence has gone on.
	lose := func() {
		if _, err := admin.Exec(ctx, "select pg_terminate_backend(pid, 5000) from pg_stat_activity where state = 'idle in transaction'"); err != nil {
			t.Fatal(err)
		}
	}
	for _, goOn := range []string{"work", "commit"} {
		tries := 0
		run := func() error {
			tries++
			return db.Transaction(func(tx *gorm.DB) error {
				s := ship{Name: goOn}
				if err := tx.Create(&s).Error; err != nil {
					return err
				}
				_ = tx.Transaction(func(nested *gorm.DB) error {
					if tries == 1 {
						lose()
					}
					return nested.Create(&port{ShipID: s.ID, Name: "Kiel"}).Error
				})
				if goOn == "work" {
					return tx.Create(&port{ShipID: s.ID, Name: "Turku"}).Error
				}
				return nil
			})
		}
		if err := run(); !driver.IsRetryable(err) {
			t.Errorf("%s: got %v, want an error that says that the transaction is to be run again", goOn, err)
		}
		if err := run(); err != nil {
			t.Errorf("%s: run again: %v", goOn, err)
		}
		var n int64
		if err := db.Model(&ship{}).Where("name = ?", goOn).Count(&n).Error; err != nil || n != 1 {
			t.Errorf("%s: %d ships (%v), want 1", goOn, n, err)
		}
	}
}
