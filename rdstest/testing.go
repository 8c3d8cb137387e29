package rdstest

import (
	"context"
	"testing"
	"time"
)

// startTimeout is many times what a start takes, for machines that are busy.
const startTimeout = 2 * time.Minute

// Start starts a cluster for a test, and closes it with the test. If it cannot, the test fails at once. When the test has
// failed, the ends of the servers' logs are in its output.
func Start(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, in := range c.Instances() {
				t.Logf("%s is %s; its log ends with:\n%s", in.ID(), in.State(), in.server.logTail(30))
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return c
}
