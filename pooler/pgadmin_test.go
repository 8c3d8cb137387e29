package pooler_test

import (
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/pooler"
)

// pgAdmin is what pgAdmin 4 sends first, as one simple query.
const pgAdmin = `
SET DateStyle=ISO;
SET client_min_messages=notice;
SELECT set_config('bytea_output','hex',false) FROM pg_show_all_settings() WHERE name = 'bytea_output';
SET client_encoding='utf-8';`

func TestWhatPgAdminBeginsWithPinsNothing(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Clusters["main"].PoolSize = 1 })
	admin, other := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, other, "set bytea_output = 'escape'")
	exec(t, other, "set datestyle = 'German'")
	if _, err := admin.PgConn().Exec(testContext(t), pgAdmin).ReadAll(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for s.Stats().Pinned != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("pinned: %v", s.Stats().Pins)
		}
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		if v := value(t, other, "select current_setting('bytea_output') || current_setting('datestyle')"); v != "escapeGerman, DMY" {
			t.Errorf("the other client has %s", v)
		}
		if v := value(t, admin, "select concat_ws(' ', current_setting('bytea_output'), current_setting('datestyle'), current_setting('client_min_messages'), current_setting('client_encoding'))"); v != "hex ISO, MDY notice UTF8" {
			t.Errorf("pgAdmin has %s", v)
		}
	}
	if pins := s.Stats().Pins; len(pins) != 0 {
		t.Errorf("pinned: %v", pins)
	}
}
