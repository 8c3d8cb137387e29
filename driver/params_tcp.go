package driver

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/internal/backend"
)

// tcpParams are libpq's parameters for TCP, with its meaning.
var tcpParams = []*param{
	libpqInt("keepalives", 1, "Whether TCP's keepalives are sent over connections that are silent, as in libpq: 1 or 0.",
		func(c *Config) int { return boolInt(c.Keepalives != Off) },
		func(c *Config, n int) {
			if c.Keepalives = On; n == 0 {
				c.Keepalives = Off
			}
		}),
	libpqInt("keepalives_idle", 30, "After how many seconds of silence the first one is sent; 0 is the system's default.",
		func(c *Config) int { return int(c.KeepalivesIdle / time.Second) },
		func(c *Config, n int) { c.KeepalivesIdle = time.Duration(n) * time.Second }),
	libpqInt("keepalives_interval", 10, "After how many seconds one that is not answered is sent again; 0 is the system's default.",
		func(c *Config) int { return int(c.KeepalivesInterval / time.Second) },
		func(c *Config, n int) { c.KeepalivesInterval = time.Duration(n) * time.Second }),
	libpqInt("keepalives_count", 3, "How many may stay unanswered until the connection is lost; 0 is the system's default.",
		func(c *Config) int { return c.KeepalivesCount },
		func(c *Config, n int) { c.KeepalivesCount = n }),
	libpqInt("tcp_user_timeout", 0, "For how many milliseconds what was sent may stay unacknowledged until the connection is lost, where the system has TCP_USER_TIMEOUT; 0 is the system's default. A server that works for so long and reads nothing meanwhile is cut off too. A path that swallows what is sent is found out without it.",
		func(c *Config) int { return int(c.TCPUserTimeout / time.Millisecond) },
		func(c *Config, n int) { c.TCPUserTimeout = time.Duration(n) * time.Millisecond }),
}

func init() { params = append(params, tcpParams...) }

func boolInt(is bool) int {
	if is {
		return 1
	}
	return 0
}

// libpqInt is a parameter with a number for a value, as libpq reads it: negative ones are 0.
func libpqInt(name string, def int, effect string, get func(*Config) int, set func(*Config, int)) *param {
	return &param{
		name: name, effect: effect, allowed: "a whole number up to " + strconv.Itoa(math.MaxInt32),
		def: func(*Config) string { return strconv.Itoa(def) },
		get: func(c *Config) string { return strconv.Itoa(get(c)) },
		set: func(c *Config, value string) error {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
			switch {
			case errors.Is(err, strconv.ErrRange):
				return errors.New("too large")
			case err != nil:
				return errors.New("not a whole number")
			}
			set(c, max(0, int(n)))
			return nil
		},
	}
}

// keepalive is what connections are given. Those that somebody else has dialled have what he gave them.
func (c *Config) keepalive() *backend.Keepalive {
	if c.ownDial() {
		return nil
	}
	return &backend.Keepalive{
		Off: c.Keepalives == Off, Idle: c.KeepalivesIdle, Interval: c.KeepalivesInterval, Count: c.KeepalivesCount, UserTimeout: c.TCPUserTimeout,
	}
}
