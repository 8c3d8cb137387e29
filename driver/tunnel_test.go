package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/rdstest"
)

// tunnel is a port that leads to an address.
func tunnel(t *testing.T, to func() string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to())
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestWhereOnlyATunnelLeadsTheConfiguredHostIsUsed(t *testing.T) {
	for name, elsewhere := range map[string]func(ctx context.Context) error{
		"instances are refused": func(context.Context) error { return errors.New("no route to host") },
		"instances are silent":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Readers: 1})
			addr := tunnel(t, func() string { return c.Writer().Addr().String() })
			dsn := strings.Replace(c.DSN(), "sslmode=verify-full", "sslmode=require", 1)
			at := config(t, c, dsn).Conn
			dsn = strings.Replace(dsn, fmt.Sprintf("%s:%d", at.Host, at.Port), addr, 1) + fmt.Sprintf("&instance_host_pattern=?%s:%d",
				strings.TrimPrefix(c.Writer().Host(), c.Writer().ID()), at.Port)
			cfg := config(t, c, dsn)
			cfg.DialFunc = func(ctx context.Context, network, to string) (net.Conn, error) {
				if to != addr {
					return nil, elsewhere(ctx)
				}
				var d net.Dialer
				return d.DialContext(ctx, network, to)
			}
			var log printed.Buffer
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			db := openConfig(t, cfg)
			mustExec(t, db, "create table through (a int)")
			if _, err := c.Failover(testContext(t)); err != nil {
				t.Fatal(err)
			}
			mustExec(t, db, "insert into through values (1)")
			if !strings.Contains(log.String(), "the configured host is used") {
				t.Errorf("nothing is said of it: %s", log.String())
			}
		})
	}
}
