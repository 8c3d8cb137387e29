package driver

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/internal/rdsname"
	"github.com/fairlead-go/fairlead/internal/session"
)

// param is one parameter of ours: everything that is known about it.
type param struct {
	name    string
	allowed string // completes "allowed is …" and the README's column
	effect  string
	// defaultText stands in the README where the default depends on the host; otherwise what def returns does.
	defaultText string
	optional    bool // a Config may have "" for it, a DSN may not

	def func(c *Config) string // the value when nobody gives one; looks at c's hosts only
	get func(c *Config) string
	set func(c *Config, value string) error
}

// params parses, validates, formats and documents all parameters that are ours.
var params = []*param{
	enum("topology", "How the writer is found: `aurora` asks Aurora PostgreSQL which instances there are, `replication` finds the one of the DSN's hosts that is out of recovery, `none` takes the hosts as they come, `auto` asks the server what it is.",
		func(c *Config) *Topology { return &c.Topology },
		func(c *Config) Topology {
			if c.allHosts(rdsname.Proxy) {
				return TopologyNone
			}
			return TopologyAuto
		},
		"`auto`; for an RDS Proxy `none`",
		TopologyAuto, TopologyAurora, TopologyReplication, TopologyNone),
	{
		name:        "instance_host_pattern",
		allowed:     "a host name with one ? for the instance's ID, and :port if it is another one, as in ?.xyz.eu-west-1.rds.amazonaws.com",
		effect:      "Where the instances of an Aurora cluster are reached.",
		defaultText: "derived from the host if it is an RDS endpoint; needed for Aurora behind an IP address or a name of one's own",
		optional:    true,

		def: func(c *Config) string { return c.derivedPattern() },
		get: func(c *Config) string { return c.InstanceHostPattern },
		set: func(c *Config, value string) error {
			c.InstanceHostPattern = value
			return checkPattern(value)
		},
	},
	enum("target_session_attrs", "Which instances connections are for, as in libpq: `read-write` and `primary` follow the writer, `read-only` and `standby` are served by readers, `prefer-standby` by the writer if there is no reader.",
		func(c *Config) *TargetSessionAttrs { return &c.TargetSessionAttrs },
		func(c *Config) TargetSessionAttrs {
			if c.allHosts(rdsname.Reader) {
				return AttrsReadOnly
			}
			return AttrsReadWrite
		},
		"`read-write`; for a `cluster-ro` endpoint `read-only`",
		AttrsAny, AttrsReadWrite, AttrsReadOnly, AttrsPrimary, AttrsStandby, AttrsPreferStandby),
	enum("reader_fallback", "Whether the writer serves connections for readers (`read-only`, `standby`) while there is no reader, as Aurora's own reader endpoint does; they go back when one returns. Their transactions are read-only there too, unless they say otherwise.",
		func(c *Config) *Switch { return &c.ReaderFallback },
		func(c *Config) Switch {
			if c.allHosts(rdsname.Reader) {
				return On
			}
			return Off
		},
		"`off`; for a `cluster-ro` endpoint `on`, unless `target_session_attrs` is given",
		On, Off),
	enum("auth", "What is logged in with: `password` what pgx finds, `iam` IAM tokens, which need TLS, `secret` the user and the password in a secret of AWS Secrets Manager, `iam_sts` tokens for a pooler with `iam_roles`, which need TLS (see docs/credentials.md).",
		func(c *Config) *Auth { return &c.Auth },
		func(*Config) Auth { return AuthPassword },
		"",
		AuthPassword, AuthIAM, AuthSecret, AuthIAMSTS),
	text("secret_id", "a name or an ARN", "The secret for `auth=secret`.", "none; needed for `auth=secret`",
		func(c *Config) *string { return &c.SecretID }, func(string) error { return nil }),
	text("aws_region", "the name of a region, as in eu-west-1", "The region of the secret, or the one that tokens are signed for.",
		"from the secret's ARN or the host's name, else the AWS SDK's",
		func(c *Config) *string { return &c.AWSRegion }, checkRegion),
	text("aws_profile", "the name of a profile", "The profile of AWS's shared files whose credentials are used.", "the AWS SDK's",
		func(c *Config) *string { return &c.AWSProfile }, func(string) error { return nil }),
	text("iam_host", "host or host:port", "The endpoint that IAM tokens are signed for, and whose name the server's certificate has, when the DSN's host is a tunnel, a CNAME or a load balancer before it.",
		"the host that is dialled",
		func(c *Config) *string { return &c.IAMHost }, checkHost),
	text("iam_audience", "a name of letters, digits and ._:/-", "Which pooler tokens are for with `auth=iam_sts`: its cluster's `iam_audience`.", "none; needed for `auth=iam_sts`",
		func(c *Config) *string { return &c.IAMAudience }, awscreds.CheckAudience),
	{
		name: "iam_login_rate", allowed: "a number from 0 to 100000; 0 is no limit",
		effect: "How many logins a second to one instance are begun with IAM tokens; more wait. AWS advises to stay under 200.",
		def:    func(*Config) string { return strconv.Itoa(credentials.DefaultIAMRate) },
		get:    func(c *Config) string { return strconv.Itoa(c.IAMLoginRate) },
		set: func(c *Config, value string) error {
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 100000 {
				return errors.New("not such a number")
			}
			c.IAMLoginRate = n
			return nil
		},
	},
	enum("continuity", "How much of a session outlives its instance: `full` all that can be carried over without guessing, `read` idle sessions and reads, `off` nothing.",
		func(c *Config) *Continuity { return &c.Continuity },
		func(*Config) Continuity { return ContinuityFull },
		"",
		ContinuityFull, ContinuityRead, ContinuityOff),
	enum("commit_resolution", "How a commit is decided whose answer was lost with its server: `marker` by a row that the transaction writes to `fairlead.commits` (see `fairlead commits-table`), `lsn` by transaction ID and WAL position (plain streaming replication only), `auto` by the first of these that works, `off` not at all: it is reported as undecided (08007).",
		func(c *Config) *CommitResolution { return &c.CommitResolution },
		func(*Config) CommitResolution { return ResolutionAuto },
		"",
		ResolutionAuto, ResolutionMarker, ResolutionLSN, ResolutionOff),
	size("journal_limit", session.DefaultJournalLimit, 1<<10, 1<<30,
		"How many bytes of a transaction's statements are kept for its replay. A larger transaction is not replayed: 40001.",
		func(c *Config) *int { return &c.JournalLimit }),
	enum("replay_locks", "What becomes of a transaction with explicit locks (`FOR UPDATE`, `LOCK`, advisory locks) when its server dies: `replay` replays it, though the locks are free in between, `refuse` ends it with 40001.",
		func(c *Config) *ReplayLocks { return &c.ReplayLocks },
		func(*Config) ReplayLocks { return LocksReplay },
		"",
		LocksReplay, LocksRefuse),
	enum("session_state", "Whether functions of your own, called outside a transaction, are taken to have set something in the session that cannot be seen (`strict`: when its server dies, the session's next statement gets 08006), or not (`relaxed`).",
		func(c *Config) *SessionState { return &c.SessionState },
		func(*Config) SessionState { return SessionStrict },
		"",
		SessionStrict, SessionRelaxed),
	{
		name: "track_settings", allowed: "a list of the names of settings with commas between them, as in app.tenant,app.user",
		effect:   "Settings that functions of your own make. They are read back after such a function was called outside a transaction, in a round trip of its own, and the session can move in spite of `session_state=strict`.",
		optional: true, defaultText: "none",
		def: func(*Config) string { return "" },
		get: func(c *Config) string { return strings.Join(c.TrackSettings, ",") },
		set: func(c *Config, value string) error {
			c.TrackSettings = strings.Split(value, ",")
			for _, name := range c.TrackSettings {
				if !settingName.MatchString(name) {
					return errors.New("one of them is not the name of a setting")
				}
			}
			return nil
		},
	},
	enum("continuity_notices", "Whether a session that goes on with another server is told so with a NoticeResponse.",
		func(c *Config) *Switch { return &c.ContinuityNotices },
		func(*Config) Switch { return Off },
		"",
		On, Off),
	duration("failover_timeout", 60*time.Second, time.Millisecond,
		"How long a new connection, or a session that lost its instance, waits for one that can serve it.",
		func(c *Config) *time.Duration { return &c.FailoverTimeout }),
	duration("probe_timeout", 500*time.Millisecond, time.Millisecond,
		"How long a probe of an instance with work in flight may stay unanswered before the instance counts as gone.",
		func(c *Config) *time.Duration { return &c.ProbeTimeout }),
	duration("topology_refresh_interval", 30*time.Second, 10*time.Millisecond,
		"How often the cluster is looked at while nothing happens.",
		func(c *Config) *time.Duration { return &c.TopologyRefreshInterval }),
	enum("pool_mode", "How long a connection of the application keeps one to the server: `session` always, `transaction` only while it has a transaction open or a statement in flight. With `transaction`, all connections of the process to the same cluster, user and database share a few.",
		func(c *Config) *PoolMode { return &c.PoolMode },
		func(*Config) PoolMode { return PoolSession },
		"",
		PoolSession, PoolTransaction),
	count("max_upstreams", defaultMaxUpstreams, 1, 10000,
		"How many connections to the server there are at most with `pool_mode=transaction`.",
		func(c *Config) *int { return &c.MaxUpstreams }),
	duration("connection_borrow_timeout", 120*time.Second, time.Millisecond,
		"How long a statement waits for one of them to become free before it fails with 53300, with `pool_mode=transaction`.",
		func(c *Config) *time.Duration { return &c.BorrowTimeout }),
}

// settingName is what PostgreSQL takes for the name of a run-time parameter.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// paramNamed returns the parameter of ours with this name, or nil.
func paramNamed(name string) *param {
	for _, p := range params {
		if p.name == name {
			return p
		}
	}
	return nil
}

// namesOf is what name says of each parameter.
func namesOf(name func(*param) string) []string {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = name(p)
	}
	return names
}

// Variables are the names of the environment variables that [ParseConfig] and what it returns look at, without those of
// PostgreSQL and AWS.
func Variables() []string { return append(namesOf((*param).env), disable) }

// env is the environment variable that gives the parameter where the DSN does not.
func (p *param) env() string { return "FAIRLEAD_" + strings.ToUpper(p.name) }

// refuse is the error for a value that set refused; source says where the value stood if it was not the DSN.
func (p *param) refuse(source string, why error) error {
	if source != "" {
		source = " (from " + source + ")"
	}
	return fmt.Errorf("fairlead: parameter %s%s: %w; allowed is %s", p.name, source, why, p.allowed)
}

// enum is a parameter with a few words for values.
func enum[T ~string](name, effect string, field func(*Config) *T, def func(*Config) T, defaultText string, values ...T) *param {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return &param{
		name: name, allowed: "one of " + strings.Join(words, ", "), effect: effect, defaultText: defaultText,
		def: func(c *Config) string { return string(def(c)) },
		get: func(c *Config) string { return string(*field(c)) },
		set: func(c *Config, value string) error {
			for _, v := range values {
				if value == string(v) {
					*field(c) = v
					return nil
				}
			}
			return errors.New("unknown value")
		},
	}
}

// text is a parameter that may be empty.
func text(name, allowed, effect, defaultText string, field func(*Config) *string, check func(string) error) *param {
	return &param{
		name: name, allowed: allowed, effect: effect, defaultText: defaultText, optional: true,
		def: func(*Config) string { return "" },
		get: func(c *Config) string { return *field(c) },
		set: func(c *Config, value string) error {
			if value == "" {
				return errors.New("empty")
			}
			*field(c) = value
			return check(value)
		},
	}
}

// duration is a parameter with a time for a value, which is at least least.
func duration(name string, def, least time.Duration, effect string, field func(*Config) *time.Duration) *param {
	return &param{
		name: name, effect: effect,
		allowed: fmt.Sprintf("a duration of %s or more, in seconds or with a unit, as in 2, 2s, 1500ms or 1m", formatDuration(least)),
		def:     func(*Config) string { return formatDuration(def) },
		get:     func(c *Config) string { return formatDuration(*field(c)) },
		set: func(c *Config, value string) error {
			d, err := parseDuration(value)
			switch {
			case err != nil:
				return err
			case d < 0:
				return errors.New("negative")
			case d < least:
				return errors.New("too short")
			}
			*field(c) = d
			return nil
		},
	}
}

// count is a parameter with a number for a value, from least to most.
func count(name string, def, least, most int, effect string, field func(*Config) *int) *param {
	return &param{
		name: name, effect: effect,
		allowed: fmt.Sprintf("a number from %d to %d", least, most),
		def:     func(*Config) string { return strconv.Itoa(def) },
		get:     func(c *Config) string { return strconv.Itoa(*field(c)) },
		set: func(c *Config, value string) error {
			n, err := strconv.Atoi(value)
			switch {
			case err != nil:
				return errors.New("not a number")
			case n < least:
				return errors.New("too small")
			case n > most:
				return errors.New("too large")
			}
			*field(c) = n
			return nil
		},
	}
}

// size is a parameter with a number of bytes for a value, from least to most.
func size(name string, def, least, most int, effect string, field func(*Config) *int) *param {
	return &param{
		name: name, effect: effect,
		allowed: fmt.Sprintf("a size from %s to %s, in bytes or with a unit, as in 65536, 256kB or 1MB", formatSize(least), formatSize(most)),
		def:     func(*Config) string { return formatSize(def) },
		get:     func(c *Config) string { return formatSize(*field(c)) },
		set: func(c *Config, value string) error {
			n, err := parseSize(value)
			switch {
			case err != nil:
				return err
			case n < least:
				return errors.New("too small")
			case n > most:
				return errors.New("too large")
			}
			*field(c) = n
			return nil
		},
	}
}

// sizeUnits are PostgreSQL's, the largest first.
var sizeUnits = []struct {
	name  string
	bytes int
}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}}

// parseSize reads a bare integer as bytes, and PostgreSQL's units.
func parseSize(value string) (int, error) {
	number, unit := value, 1
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(value, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil:
		return 0, errors.New("not a size")
	case n < 0:
		return 0, errors.New("negative")
	case n > math.MaxInt64/int64(unit):
		return 0, errors.New("too large")
	}
	return int(n) * unit, nil
}

// formatSize writes the largest unit that leaves nothing over.
func formatSize(n int) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.Itoa(n/u.bytes) + u.name
		}
	}
	return strconv.Itoa(n)
}

// parseDuration reads a bare integer as seconds, as libpq does, and anything else as Go does.
func parseDuration(value string) (time.Duration, error) {
	if value == "" {
		return 0, errors.New("empty")
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		if n > math.MaxInt64/int64(time.Second) || n < math.MinInt64/int64(time.Second) {
			return 0, errors.New("too long")
		}
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, errors.New("not a duration")
	}
	return d, nil
}

// formatDuration writes whole seconds as such, since 60s is what people write, and not 1m0s.
func formatDuration(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return d.String()
}

// checkPattern refuses what cannot become a host name by putting an ID in place of the "?".
func checkPattern(pattern string) error {
	switch strings.Count(pattern, "?") {
	case 0:
		return errors.New("it has no ?: put one where the instance's ID stands in the host names of the instances")
	case 1:
	default:
		return errors.New("it has more than one ?")
	}
	host, port, hasPort := strings.Cut(pattern, ":")
	if !strings.Contains(host, "?") {
		return errors.New("the ? is not in the host name")
	}
	for _, r := range host {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`/\,@#'"[]`, r) {
			return fmt.Errorf("%q cannot be in a host name", r)
		}
	}
	if !hasPort {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("what is behind the colon is not a port")
	}
	return nil
}

// allHosts says whether every host of the DSN is an RDS endpoint of this kind.
func (c *Config) allHosts(kind rdsname.Kind) bool {
	if c.Conn == nil {
		return false
	}
	for _, host := range c.hosts() {
		if rdsname.Parse(host).Kind != kind {
			return false
		}
	}
	return true
}

// derivedPattern is the pattern that the first host tells which does tell one.
func (c *Config) derivedPattern() string {
	if c.Conn == nil {
		return ""
	}
	for _, host := range c.hosts() {
		if p := rdsname.Parse(host).InstancePattern; p != "" {
			return p
		}
	}
	return ""
}
