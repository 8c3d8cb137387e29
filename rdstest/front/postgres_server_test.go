package front_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// postgresServer is one real server for all tests of the package, on a Unix socket.
type postgresServer struct {
	bin, dir string
	err      error
}

var (
	postgresOnce sync.Once
	postgresOne  postgresServer
)

// startPostgres gives the directory of the socket of a running server whose superuser "postgres" needs no password.
func startPostgres(t testing.TB) string {
	t.Helper()
	postgresOnce.Do(func() { postgresOne.err = postgresOne.start() })
	if postgresOne.err != nil {
		t.Fatal(postgresOne.err)
	}
	return postgresOne.dir
}

func stopPostgres() {
	if postgresOne.dir != "" {
		_ = postgresOne.run("pg_ctl", "-D", postgresOne.dir+"/data", "-m", "immediate", "-w", "stop")
		_ = os.RemoveAll(postgresOne.dir)
	}
}

func (s *postgresServer) start() error {
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		// Debian keeps it out of the path.
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if len(found) == 0 {
			return err
		}
		initdb = found[len(found)-1]
	}
	s.bin = filepath.Dir(initdb)
	if s.dir, err = os.MkdirTemp("", "front"); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		uid, gid, err := otherUser()
		if err != nil {
			return err
		}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	if err := s.run("initdb", "-D", s.dir+"/data", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"); err != nil {
		return err
	}
	options := "-c fsync=off -c listen_addresses= -c wal_level=logical -c unix_socket_directories=" + s.dir
	return s.run("pg_ctl", "-D", s.dir+"/data", "-l", s.dir+"/log", "-o", options, "-w", "start")
}

// run runs one of PostgreSQL's programs, as another user if this is root, whom the server refuses.
func (s *postgresServer) run(program string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	// Not a pipe: the server would keep it open.
	out, err := os.Create(filepath.Join(os.TempDir(), "front-"+program+strconv.Itoa(os.Getpid())))
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if os.Geteuid() == 0 {
		uid, gid, err := otherUser()
		if err != nil {
			return err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(said))
	}
	return nil
}

func otherUser() (uid, gid int, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, lookErr := user.Lookup(name)
		if lookErr != nil {
			err = lookErr
			continue
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			continue
		}
		if gid, err = strconv.Atoi(u.Gid); err != nil {
			continue
		}
		return uid, gid, nil
	}
	return 0, 0, err
}
