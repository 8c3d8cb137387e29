// Package through makes the connections of pgx's tests with Fairlead's driver.
package through

import (
	"fmt"
	"os"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
)

// scripted are the parameters for servers that a test plays itself. They serve one connection, and answer nothing but what
// the script expects: nobody can ask them what they are. What they do wrong on purpose is not worth the default patience.
const scripted = "topology=none target_session_attrs=any failover_timeout=3s"

func init() {
	if os.Getenv("COMPAT_THROUGH") != "" {
		pgconn.ConnectHook = through
	}
}

// through returns what the driver has pgx connect with, to reach what config leads to.
func through(config *pgconn.Config) (*pgconn.Config, error) {
	parameters := os.Getenv("COMPAT_PARAMETERS")
	if !slices.Contains(ports(config), os.Getenv("COMPAT_PORT")) {
		parameters = scripted
	}
	cfg, err := driver.ParseConfig(parameters)
	if err != nil {
		return nil, err
	}
	cfg.Conn.Config = *config.Copy()
	pgconn.MarkDirect(&cfg.Conn.Config)
	if attrs, ok := attrs(config.ValidateConnect); ok {
		cfg.TargetSessionAttrs = attrs
	}
	conn, err := driver.ConnConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &conn.Config, nil
}

func ports(config *pgconn.Config) []string {
	list := []string{fmt.Sprint(config.Port)}
	for _, f := range config.Fallbacks {
		list = append(list, fmt.Sprint(f.Port))
	}
	return list
}

// attrs is the target_session_attrs that pgx has made validate of, if it has.
func attrs(validate pgconn.ValidateConnectFunc) (driver.TargetSessionAttrs, bool) {
	for _, known := range []struct {
		validate pgconn.ValidateConnectFunc
		attrs    driver.TargetSessionAttrs
	}{
		{pgconn.ValidateConnectTargetSessionAttrsReadWrite, driver.AttrsReadWrite},
		{pgconn.ValidateConnectTargetSessionAttrsReadOnly, driver.AttrsReadOnly},
		{pgconn.ValidateConnectTargetSessionAttrsPrimary, driver.AttrsPrimary},
		{pgconn.ValidateConnectTargetSessionAttrsStandby, driver.AttrsStandby},
		{pgconn.ValidateConnectTargetSessionAttrsPreferStandby, driver.AttrsPreferStandby},
	} {
		if reflect.ValueOf(validate).Pointer() == reflect.ValueOf(known.validate).Pointer() {
			return known.attrs, true
		}
	}
	return "", false
}
