package torture

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// language is one in which a program works, through a driver that people use there. The program has a connection for each session,
// and does what it is asked for on it. It reads requests from its input and writes answers to its output: a line is a form, as in
// a URL. A request has
//
//	session  on which connection
//	do       open (host, port, user, db), close, begin (sql: the isolation level), commit, rollback, exec, query, prepared, batch, copy
//	sql      with $1 for the first argument
//	row      arguments, numbers with commas between them. exec and query have one, or none: then the text is sent as it is.
//	         prepared does sql for each row, batch for all at once.
//	named    1: it is prepared on the server under a name
//	data     what copy sends
//
// and an answer has the session, the first column of what came (row), or what went wrong (error): the SQLSTATE that the server
// gave, or a dash if it gave none, a space, and the rest. status is idle if the connection is in no transaction.
type language struct {
	name    string
	file    string   // in programs
	command []string // what runs the file
	has     []string // a command that succeeds if the driver is there
	install string
}

const jdbcJar = "/usr/share/java/postgresql.jar"

var languages = []language{
	{
		name: "psycopg", file: "work_psycopg.py", command: []string{"/usr/bin/python3"}, has: []string{"/usr/bin/python3", "-c", "import psycopg"},
		install: "apt-get install python3-psycopg",
	},
	{
		name: "node", file: "work_node.js", command: []string{"node"}, has: []string{"node", "-e", "require('pg')"},
		install: "install Node.js with npm, and run npm install --no-save --prefix out pg@8",
	},
	{
		// It lives for minutes: a compiler that thinks long, and a collector with threads of its own, take more from the servers than they give.
		name: "jdbc", file: "WorkJdbc.java", command: []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", jdbcJar},
		has:     []string{"sh", "-c", "command -v java && test -e " + jdbcJar},
		install: "apt-get install default-jdk-headless libpostgresql-jdbc-java",
	},
}

//go:embed programs
var programs embed.FS

// Missing says what the named clients need that is not there, and how it is had; nil if they can work.
func Missing(ctx context.Context, clients ...string) error {
	var errs []error
	for _, l := range chosenLanguages(clients) {
		cmd := exec.CommandContext(ctx, l.has[0], l.has[1:]...)
		cmd.Env = environment()
		if out, err := cmd.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("torture: client %s cannot work: %s (%w %s)", l.name, l.install, err, lastLine(out)))
		}
	}
	return errors.Join(errs...)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func chosenLanguages(clients []string) (list []language) {
	for _, l := range languages {
		for _, name := range clients {
			if l.name == name {
				list = append(list, l)
			}
		}
	}
	return list
}

// environment has Node.js find what scripts/setup-languages installs, from wherever in the project it is run.
func environment() []string {
	env := append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	dir, err := os.Getwd()
	if err != nil || os.Getenv("NODE_PATH") != "" {
		return env
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if modules := filepath.Join(dir, "out", "node_modules"); exists(modules) {
			return append(env, "NODE_PATH="+modules)
		}
	}
	return env
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// program is a language's, running.
type program struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	dir   string
	ended chan struct{} // closed when it answers no more

	mu      sync.Mutex                   // guards what is written, and what follows
	answers map[string]chan<- url.Values // of the open connections
	n       int                          // connections that there were
}

// start starts a language's program. It ends with stop.
func (l language) start() (*program, error) {
	dir, err := os.MkdirTemp("", "torture-"+l.name)
	if err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	p := &program{dir: dir, ended: make(chan struct{}), answers: make(map[string]chan<- url.Values)}
	text, err := programs.ReadFile("programs/" + l.file)
	path := filepath.Join(dir, l.file)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	var out io.ReadCloser
	if err == nil {
		p.cmd = exec.Command(l.command[0], append(l.command[1:len(l.command):len(l.command)], path)...)
		p.cmd.Env, p.cmd.Stderr = environment(), os.Stderr
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the run, which ends it
		if p.in, err = p.cmd.StdinPipe(); err == nil {
			out, err = p.cmd.StdoutPipe()
		}
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("torture: start client %s: %w", l.name, err), os.RemoveAll(dir))
	}
	go p.read(out)
	return p, nil
}

// startPrograms starts those of the clients that are programs.
func startPrograms(clients []string) (map[string]*program, error) {
	all := make(map[string]*program)
	for _, l := range chosenLanguages(clients) {
		p, err := l.start()
		if err != nil {
			return all, err
		}
		all[l.name] = p
	}
	return all, nil
}

// read gives answers to whom they are for.
func (p *program) read(out io.Reader) {
	defer close(p.ended)
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return
		}
		form, err := url.ParseQuery(strings.TrimSpace(text))
		if err != nil {
			fmt.Fprintf(os.Stderr, "torture: a client's answer cannot be read: %v: %.200s\n", err, text)
			return
		}
		p.mu.Lock()
		to := p.answers[form.Get("session")]
		p.mu.Unlock()
		if to != nil {
			to <- form // there is room: it is the only one
		}
	}
}

func (p *program) send(form url.Values) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.in, form.Encode()+"\n")
	return err
}

// over reports whether it answers no more.
func (p *program) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *program) stop() error {
	err := p.in.Close()
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		err = errors.Join(err, p.cmd.Process.Kill())
		<-p.ended
	}
	return errors.Join(err, p.cmd.Wait(), os.RemoveAll(p.dir))
}
