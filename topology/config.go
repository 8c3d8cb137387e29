package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/internal/rdsname"
)

// Defaults of [Config].
const (
	DefaultRefreshInterval = 30 * time.Second
	DefaultProbeTimeout    = 500 * time.Millisecond
)

// Resolver looks up host names; [net.Resolver] is one.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Config describes a cluster to [New].
type Config struct {
	// Name stands for the cluster in logs, errors and metrics; default: the first seed.
	Name string
	// Seeds are the configured endpoints, at least one. Of an Aurora cluster any endpoint will do; of other kinds every
	// instance must be named. An address or a name for the same server twice does no harm.
	Seeds []Endpoint
	// Kind says how to find the writer; default KindAuto.
	Kind Kind
	// HostPattern gives the host of an Aurora instance when its ID is put in place of the "?", as in
	// "?.xyz.eu-west-1.rds.amazonaws.com", with ":port" if it is another port than the first seed's. Default: derived from the
	// first seed that is an RDS endpoint. Without one, only the seeds themselves are known as endpoints.
	HostPattern string
	// Resolver is asked in the background; default [net.DefaultResolver].
	Resolver Resolver
	// RefreshInterval is how often the writer is asked when nothing happens; default 30 s.
	RefreshInterval time.Duration
	// ProbeTimeout is how long a probe may stay unanswered before the instance counts as gone; default 500 ms.
	ProbeTimeout time.Duration
	// Logger gets failovers at Info and the rest at Debug; nil: no logs.
	Logger *slog.Logger
	// MeterProvider gets the metrics; nil: the global one.
	MeterProvider metric.MeterProvider
	// OnChange is called after a snapshot was published that differs from the one before it in more than its times. It runs in
	// the goroutine that also finds writers: it must be fast, and must not release the cluster.
	OnChange func(old, new *Snapshot)
	// OnFailover is called after OnChange for each epoch after the first, under the same conditions.
	OnFailover func(Failover)
}

// Failover says how one writer followed another.
type Failover struct {
	Cluster  string
	Old, New Instance // Old.ID == New.ID: a restart
	Epoch    uint64   // that began with New

	Began  time.Time     // the first suspicion
	Detect time.Duration // from there until it was certain that the old writer does not answer, or is none any more
	Find   time.Duration // from there to the proof of the new one
}

// withDefaults checks a configuration and fills in what was left out.
func (cfg Config) withDefaults() (Config, error) {
	if len(cfg.Seeds) == 0 {
		return cfg, errors.New("topology: no seeds: at least one endpoint of the cluster is needed")
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Seeds[0].String()
	}
	switch cfg.Kind {
	case "":
		cfg.Kind = KindAuto
	case KindAuto, KindAurora, KindReplication, KindNone:
	default:
		return cfg, fmt.Errorf("topology: unknown kind %q: auto, aurora, replication and none are known", cfg.Kind)
	}
	if cfg.HostPattern == "" {
		for _, ep := range cfg.Seeds {
			if cfg.HostPattern = rdsname.Parse(ep.Host).InstancePattern; cfg.HostPattern != "" {
				break
			}
		}
	} else if strings.Count(cfg.HostPattern, "?") != 1 {
		return cfg, fmt.Errorf("topology: host pattern %q: it must contain one \"?\", which stands for the instance's ID, as in ?.xyz.eu-west-1.rds.amazonaws.com", cfg.HostPattern)
	}
	if cfg.HostPattern != "" {
		if _, err := cfg.memberEndpoint("x"); err != nil {
			return cfg, err
		}
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.RefreshInterval <= 0 {
		cfg.RefreshInterval = DefaultRefreshInterval
	}
	if cfg.ProbeTimeout <= 0 {
		cfg.ProbeTimeout = DefaultProbeTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Logger = cfg.Logger.With("cluster", cfg.Name)
	return cfg, nil
}

// memberEndpoint is where the instance with this ID listens by the host pattern.
func (cfg *Config) memberEndpoint(id string) (Endpoint, error) {
	host := strings.Replace(cfg.HostPattern, "?", id, 1)
	ep := Endpoint{Host: host, Port: cfg.Seeds[0].Port}
	if h, p, ok := strings.Cut(host, ":"); ok {
		var port uint16
		if _, err := fmt.Sscanf(p, "%d", &port); err != nil || port == 0 || fmt.Sprint(port) != p {
			return ep, fmt.Errorf("topology: host pattern %q: %q is not a port", cfg.HostPattern, p)
		}
		ep = Endpoint{Host: h, Port: port}
	}
	return ep, nil
}
