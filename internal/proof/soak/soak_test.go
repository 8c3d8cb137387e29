package soak

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	ServeIfAsked()
	os.Exit(m.Run())
}

// A short run of what "make soak" does for minutes.
func TestAttackersHarmNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	result, err := Run(ctx, Config{Duration: 15 * time.Second, Attackers: 1, Serve: []string{os.Args[0]}, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	result.Write(t.Output())
	if n := len(result.Problems()); n > 0 {
		t.Errorf("%d problems", n)
	}
}
