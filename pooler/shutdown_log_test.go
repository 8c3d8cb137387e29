package pooler_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

// logged is a log that is read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheEndIsLogged(t *testing.T) {
	db, err := driver.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	db.Resolver = shared.Resolver()
	log := new(logged)
	s, err := pooler.New(pooler.Config{
		Listeners: []pooler.Listener{{Address: "127.0.0.1:0"}},
		Clusters:  map[string]*pooler.Cluster{"main": {Database: db, PoolSize: 1}},
		Logger:    slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		exec(t, connect(t, url(shared, addrs[0])), "select 1")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"the pooler shuts down", "clients=2", "drain_timeout=", "the pooler has shut down", "took="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, log)
		}
	}
}
