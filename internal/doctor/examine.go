package doctor

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/topology"
)

// patience is how long one step may take.
const patience = 5 * time.Second

// examination is one run. Later steps look at what earlier ones have found.
type examination struct {
	cfg      *driver.Config
	resolver topology.Resolver
	hosts    []host
	report   *Report

	addrs    map[string][]string // of the hosts that could be looked up
	reached  bool                // some host was
	unusable bool                // there is nothing to log in with
	conn     *pgx.Conn           // nil: not logged in
	aurora   bool
}

// host is one of the DSN.
type host struct {
	name string
	port uint16
}

func (h host) String() string { return net.JoinHostPort(h.name, fmt.Sprint(h.port)) }

// Examine does all checks. They are bounded in time each, and by ctx together. The Config is not changed.
func Examine(ctx context.Context, cfg *driver.Config) *Report {
	e := &examination{
		cfg: cfg.Copy(), resolver: cfg.Resolver, report: &Report{DSN: cfg.String()}, addrs: make(map[string][]string),
	}
	if e.resolver == nil {
		e.resolver = net.DefaultResolver
	}
	e.hosts = []host{{cfg.Conn.Host, cfg.Conn.Port}}
	for _, f := range cfg.Conn.Fallbacks {
		if h := (host{f.Host, f.Port}); h != e.hosts[len(e.hosts)-1] {
			e.hosts = append(e.hosts, h)
		}
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) Check
	}{
		{"dns", e.dns}, {"tcp", e.tcp}, {"tls", e.tls},
		{"aws", e.aws}, {"credential", e.credential}, {"login", e.login},
		{"privileges", e.privileges}, {"topology", e.topology}, {"replicas", e.replicas},
		{"continuity", e.continuity}, {"limits", e.limits},
	} {
		ctx, cancel := context.WithTimeout(ctx, 4*patience)
		c := step.do(ctx)
		cancel()
		c.Name = step.name
		e.report.Checks = append(e.report.Checks, c)
	}
	if e.conn != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_ = e.conn.Close(ctx) // nothing is left to learn from it
	}
	return e.report
}

func ok(format string, args ...any) Check {
	return Check{Status: OK, Found: fmt.Sprintf(format, args...)}
}

func skip(why string) Check { return Check{Status: Skipped, Found: why} }

func fail(found string, remedy string, args ...any) Check {
	return Check{Status: Failed, Found: found, Remedy: fmt.Sprintf(remedy, args...)}
}

func warn(found string, remedy string, args ...any) Check {
	return Check{Status: Warning, Found: found, Remedy: fmt.Sprintf(remedy, args...)}
}

// target is what a credential is asked for.
func (e *examination) target() credentials.Target {
	t := credentials.Target{Host: e.hosts[0].name, Port: e.hosts[0].port, User: e.cfg.Conn.User}
	if name, port, err := net.SplitHostPort(e.cfg.IAMHost); err == nil {
		t.Host = name
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			t.Port = uint16(n)
		}
	} else if e.cfg.IAMHost != "" {
		t.Host = e.cfg.IAMHost
	}
	return t
}

// local says whether a host is a directory with a socket in it.
func (h host) local() bool { return strings.HasPrefix(h.name, "/") }
