package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// telemetryBuffering is the shortest time for which Lambda lets records be collected.
const telemetryBuffering = 25 * time.Millisecond

// maxTelemetry bounds one delivery; Lambda's own bound is lower.
const maxTelemetry = 1 << 20

// telemetry receives what the platform tells of invocations, and knows which of them the function has answered.
type telemetry struct {
	listener net.Listener
	server   *http.Server
	ended    chan struct{} // closed when the server has ended

	mu   sync.Mutex
	done string        // the request ID of the last platform.runtimeDone; guarded by mu
	news chan struct{} // closed, and replaced, at each of them; guarded by mu
}

// listenTelemetry begins to serve at an address that Lambda can reach.
func listenTelemetry(ctx context.Context) (*telemetry, error) {
	// sandbox.localdomain need not be a loopback address.
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "0.0.0.0:0")
	if err != nil {
		return nil, fmt.Errorf("lambda: listen for telemetry: %w", err)
	}
	t := &telemetry{listener: ln, ended: make(chan struct{}), news: make(chan struct{})}
	t.server = &http.Server{Handler: http.HandlerFunc(t.receive), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(t.ended)
		_ = t.server.Serve(ln) // it ends with close
	}()
	return t, nil
}

// uri is where Lambda delivers to.
func (t *telemetry) uri() string {
	_, port, err := net.SplitHostPort(t.listener.Addr().String())
	if err != nil {
		return "" // a listener's address has a port
	}
	return "http://sandbox.localdomain:" + port
}

func (t *telemetry) close() {
	_ = t.server.Close()
	<-t.ended
}

func (t *telemetry) receive(w http.ResponseWriter, r *http.Request) {
	var records []struct {
		Type   string          `json:"type"`
		Record json.RawMessage `json:"record"` // text, in records of types that are not asked for
	}
	err := json.NewDecoder(io.LimitReader(r.Body, maxTelemetry)).Decode(&records)
	if err != nil && !errors.Is(err, io.EOF) {
		http.Error(w, "not a list of records", http.StatusBadRequest)
		return
	}
	for _, rec := range records {
		var done struct {
			RequestID string `json:"requestId"`
		}
		if rec.Type != "platform.runtimeDone" || json.Unmarshal(rec.Record, &done) != nil {
			continue
		}
		t.mu.Lock()
		t.done = done.RequestID
		close(t.news)
		t.news = make(chan struct{})
		t.mu.Unlock()
	}
}

// answered reports whether the function is known to have answered this request, and otherwise returns what is closed when there is
// news. Nothing is ever known without telemetry.
func (t *telemetry) answered(requestID string) (bool, <-chan struct{}) {
	if t == nil {
		return false, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done == requestID, t.news
}
