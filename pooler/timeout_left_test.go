package pooler_test

import (
	"fmt"
	"strings"
	"testing"
)

// A statement_timeout that one client has set does not end what brings the connection to the next one's settings, however long that takes.
func TestATimeoutOfAnotherClientEndsNothing(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(nil))
	hasty, slow := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	for i := range 300 { // so that to read their text alone takes longer than the timeout
		exec(t, slow, fmt.Sprintf("set app.setting%d = '%s'", i, strings.Repeat("x", 8000)))
	}
	exec(t, slow, "set app.tenant = 'slow'")
	exec(t, hasty, "set statement_timeout = 1")
	for range 10 {
		_, _ = hasty.Exec(testContext(t), "select 1") // its own timeout may end it
		if got := value(t, slow, "select current_setting('app.tenant') || current_setting('statement_timeout')"); got != "slow0" {
			t.Fatalf("the client has %q", got)
		}
	}
}
