package rdstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is one PostgreSQL server: its files, and its processes while it runs. Its methods are called one at a time.
type server struct {
	bin     binaries
	account account
	dir     string // everything is in here
	port    uint16 // in the name of its socket
	secrets secrets
	admins  adminConns
}

// process is a running server.
type process struct {
	pid  int
	gone chan struct{} // closed when it has ended
	err  error         // how; to be read after that
}

func (s *server) data() string   { return filepath.Join(s.dir, "data") }
func (s *server) config() string { return filepath.Join(s.dir, "postgresql.conf") }
func (s *server) log() string    { return filepath.Join(s.dir, "log") }
func (s *server) socket() string { return socketIn(s.dir, s.port) }

// uplinkDir has the socket by which the server reaches the primary, whichever that is.
func (s *server) uplinkDir() string { return filepath.Join(s.dir, "up") }
func (s *server) uplink() string    { return socketIn(s.uplinkDir(), s.port) }

// socketIn is the path of the socket that libpq looks for in a directory.
func socketIn(dir string, port uint16) string {
	return filepath.Join(dir, fmt.Sprintf(".s.PGSQL.%d", port))
}

// dial reaches the server.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", s.socket())
}

// start starts the server and does not wait until it is of use. When it ends, by itself or not, ended is called.
func (s *server) start(ended func(*process)) (*process, error) {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.dir, err)
	}
	defer log.Close()
	cmd := s.account.command(context.Background(), s.data(), s.bin.path("postgres"), "-D", s.data(), "--config-file="+s.config())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.dir, err)
	}
	p := &process{pid: cmd.Process.Pid, gone: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		s.sweepUp()
		ended(p)
		close(p.gone)
	}()
	return p, nil
}

// sweepUp removes what a server leaves behind that was killed: its System V segment, which is the kernel's and no file.
func (s *server) sweepUp() {
	data, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return // it ended in good order
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) < 7 {
		return
	}
	if _, id, ok := strings.Cut(strings.TrimSpace(lines[6]), " "); ok {
		if id, err := strconv.Atoi(strings.TrimSpace(id)); err == nil {
			// It may be gone already, and where there is no ipcrm nothing can be done.
			_ = exec.Command("ipcrm", "-m", strconv.Itoa(id)).Run()
		}
	}
}

// kill ends the server as a loss of power does.
func (s *server) kill(ctx context.Context, p *process) error {
	if err := killTree(ctx, p.pid); err != nil {
		return err
	}
	return p.wait(ctx)
}

// stop tells the server to shut down.
func (s *server) stop(ctx context.Context, p *process, mode ShutdownMode) error {
	signal := syscall.SIGINT
	if mode == Immediate {
		signal = syscall.SIGQUIT
	}
	if err := syscall.Kill(p.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return p.wait(ctx)
}

// reload lets the server read its configuration again; a frozen one does so when it is thawed. One that has only just been
// started has no handler for the signal yet, which would end it: it gets it as soon as it has written its lock file.
func (s *server) reload(p *process) error {
	if s.up(p) {
		return hangUp(p)
	}
	go func() { // ends with the process at the latest
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for !s.up(p) {
			select {
			case <-p.gone:
				return
			case <-tick.C:
			}
		}
		_ = hangUp(p) // it is gone, or it reads
	}()
	return nil
}

// up reports whether the process has got so far as to write its lock file.
func (s *server) up(p *process) bool {
	lock, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	return err == nil && strings.HasPrefix(string(lock), strconv.Itoa(p.pid)+"\n")
}

func hangUp(p *process) error {
	if err := syscall.Kill(p.pid, syscall.SIGHUP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ended says whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// awaitSocket returns when the server can be connected to, whatever it says then.
func (s *server) awaitSocket(ctx context.Context, p *process) error {
	for {
		conn, err := s.dial(ctx)
		if err == nil {
			_ = conn.Close() // it was only a knock at the door
			return nil
		}
		if p.ended() {
			return s.whyItEnded(p)
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the server's socket: %w", err)
		}
	}
}

// awaitReady returns when the server lets its administrator in.
func (s *server) awaitReady(ctx context.Context, p *process) error {
	for {
		_, err := s.admins.query(ctx, s, "select 1")
		if err == nil {
			return nil
		}
		if p.ended() {
			return s.whyItEnded(p)
		}
		if sleepErr := sleep(ctx, 10*time.Millisecond); sleepErr != nil {
			return fmt.Errorf("wait until the server lets anybody in: %w (last: %w)", sleepErr, err)
		}
	}
}

func (s *server) whyItEnded(p *process) error {
	return fmt.Errorf("the server has ended (%v); its log ends with:\n%s", p.err, s.logTail(10))
}

// standby makes the server follow another when it is started.
func (s *server) standby() error {
	return s.account.writeFile(filepath.Join(s.data(), "standby.signal"), nil)
}

// copyPrimary replaces all data by a copy of the primary's. Nothing that this server wrote stays: it may have written what
// the other never got.
func (s *server) copyPrimary(ctx context.Context) error {
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	cmd := s.account.command(ctx, s.dir, s.bin.path("pg_basebackup"),
		"--pgdata="+s.data(), "--host="+s.uplinkDir(), "--port="+strconv.Itoa(int(s.port)), "--username="+replicationRole,
		"--no-password", "--checkpoint=fast", "--wal-method=stream", "--no-slot", "--no-sync", "--no-manifest")
	cmd.Env = append(cmd.Env, "PGPASSWORD="+s.secrets.replication, "PGCONNECT_TIMEOUT=10")
	return runCommand(ctx, cmd, nil)
}

// logTail returns the last lines of the server's log.
func (s *server) logTail(lines int) string {
	f, err := os.Open(s.log())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 64 << 10
	if fi, err := f.Stat(); err == nil && fi.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
