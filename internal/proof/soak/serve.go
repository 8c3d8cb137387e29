package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

// Environment is the variable that has a process run Serve: see ServeIfAsked.
const Environment = "FAIRLEAD_SOAK_SERVE"

// order is what the process of the pooler is told.
type order struct {
	DSN      string
	PoolSize int
	Log      bool
}

// ServeIfAsked runs a pooler until the end of the process's input, and then exits, if the process was started for that.
func ServeIfAsked() {
	text := os.Getenv(Environment)
	if text == "" {
		return
	}
	if err := serve(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("soak: %s: %w", Environment, err)
	}
	dsn, err := driver.ParseConfig(o.DSN)
	if err != nil {
		return err
	}
	cfg := pooler.Config{
		Listeners: []pooler.Listener{{Address: "127.0.0.1:0"}},
		Clusters: map[string]*pooler.Cluster{"main": {
			Database: dsn, PoolSize: o.PoolSize, BorrowTimeout: borrowTimeout, VerifyClean: pooler.VerifyOn,
		}},
		IdleTransactionTimeout: idleTransaction, QueryTimeout: queryTimeout, LoginTimeout: loginTimeout,
	}
	if o.Log {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	server, err := pooler.New(cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	addrs, err := server.Addrs(ctx)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	admin := &http.Server{Handler: status(server), ReadHeaderTimeout: time.Second}
	go func() { _ = admin.Serve(ln) }() // it ends with the process
	fmt.Printf("%s %s\n", addrs[0], ln.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	return errors.Join(<-ended, admin.Close())
}

// status answers GET / with a Sample, after a garbage collection if asked for one, and /debug/pprof/profile with a profile.
func status(server *pooler.Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Has("gc") {
			debug.FreeOSMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		st := server.Stats()
		open := 0 // of the honest clients' pool: a startup packet may name another database
		for _, p := range st.Pools {
			if p.Database == database {
				open += p.Open
			}
		}
		_ = json.NewEncoder(w).Encode(Sample{ // who asked is gone
			RSS: resident(), Heap: int64(m.HeapAlloc), Goroutines: runtime.NumGoroutine(), Clients: st.Clients, Open: open,
			Waiting: st.Waiting, Pinned: st.Pinned, Unclean: st.Unclean,
		})
	})
	return mux
}

// database is that of all well-formed clients.
const database = "app"

// resident is the process's resident memory in bytes, 0 where the system does not tell.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// process is the pooler's.
type process struct {
	cmd     *exec.Cmd
	in      io.Closer
	address string // where clients connect
	admin   string
}

func startProcess(ctx context.Context, cfg Config, dsn string) (*process, error) {
	text, err := json.Marshal(order{DSN: dsn, PoolSize: cfg.PoolSize, Log: cfg.Logger != nil})
	if err != nil {
		return nil, fmt.Errorf("soak: %w", err)
	}
	p := &process{cmd: exec.CommandContext(ctx, cfg.Serve[0], cfg.Serve[1:]...)}
	p.cmd.Env = append(os.Environ(), Environment+"="+string(text), "GOTRACEBACK=all")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("soak: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("soak: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("soak: start the pooler: %w", err)
	}
	if _, err := fmt.Fscan(out, &p.address, &p.admin); err != nil {
		return nil, errors.Join(fmt.Errorf("soak: the pooler does not say where it listens: %w", err), p.stop())
	}
	return p, nil
}

// url is how clients reach the pooler.
func (p *process) url() string {
	return "postgres://app@" + p.address + "/" + database + "?sslmode=disable"
}

// look asks the process how it is.
func (p *process) look(ctx context.Context, collect bool) (s Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	url := "http://" + p.admin + "/"
	if collect {
		url += "?gc"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return s, fmt.Errorf("soak: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, fmt.Errorf("soak: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("soak: status of the pooler: %w", err)
	}
	return s, nil
}

// stop ends the process, which says with its exit code whether it ended well.
func (p *process) stop() error {
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("soak: the pooler ended with %w", err)
	}
	return nil
}
