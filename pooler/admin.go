package pooler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// Ready reports whether clients can be sent to the Server, and what speaks against it. That a cluster lacks the instances that its
// clients would get is no reason as long as another one has them.
func (s *Server) Ready() (ready bool, reasons []string) {
	ready = true
	select {
	case <-s.up:
	default:
		ready, reasons = false, append(reasons, "the listeners are not open yet")
	}
	s.mu.Lock()
	if !s.running {
		ready, reasons = false, append(reasons, "it does not run")
	}
	s.mu.Unlock()
	select {
	case <-s.stopping:
		ready, reasons = false, append(reasons, "it is shutting down")
	default:
	}
	served := false
	for _, p := range s.pools.list() {
		if s.pools.replaced(p) {
			continue
		}
		err := p.pool.Lacks()
		if served = served || err == nil; err == nil {
			continue
		}
		if why := fmt.Sprintf("cluster %s: %v", p.key.cluster, err); !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	return ready && served, reasons
}

// AdminHandler answers what an admin address is asked:
//
//	GET /livez     200: the process answers, and looks after its clients; 503 with the reason if it does not
//	GET /readyz    200 or 503, and as JSON what Ready says
//	GET /stats     as JSON what Stats says
//	POST /reload   reloads what Config.Source says: 200, 422 with the reason why not, 501 without a Source
//
// It asks nobody who he is.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.stuck(); why != "" {
			reply(w, http.StatusServiceUnavailable, why)
			return
		}
		reply(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, reasons := s.Ready()
		status := http.StatusOK
		if !ready {
			status = http.StatusServiceUnavailable
		}
		reply(w, status, struct {
			Ready   bool     `json:"ready"`
			Reasons []string `json:"reasons"`
		}{ready, append([]string{}, reasons...)})
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		source := s.cfg.Load().Source
		if source == nil {
			reply(w, http.StatusNotImplemented, "there is nothing that the configuration could be read from again")
			return
		}
		cfg, err := source()
		if err == nil {
			err = s.Reload(cfg)
		}
		if err != nil {
			s.log.Error("the configuration stays as it was", "error", err)
			reply(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		reply(w, http.StatusOK, "the configuration was read again")
	})
	return http.NewCrossOriginProtection().Handler(mux) // a page in somebody's browser is not to reload anything
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who asked is gone
}

// admin tells over HTTP how a Server does.
type admin struct {
	server *http.Server
	done   chan struct{}
}

// openAdmin begins to answer at an address, if there is one.
func (s *Server) openAdmin(ctx context.Context, address string) (*admin, error) {
	if address == "" {
		return nil, nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("pooler: admin address %s: %w", address, err)
	}
	a := &admin{server: &http.Server{Handler: s.AdminHandler(), ReadHeaderTimeout: 5 * time.Second}, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the admin address does not answer any more", "address", address, "error", err)
		}
	}()
	s.log.Info("telling how it does", "address", ln.Addr().String())
	return a, nil
}

// close ends it once it has answered those who have asked, or at the end of ctx.
func (a *admin) close(ctx context.Context) {
	if a == nil {
		return
	}
	if a.server.Shutdown(ctx) != nil {
		_ = a.server.Close()
	}
	<-a.done
}
