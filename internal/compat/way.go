package main

import (
	"context"
	"crypto/tls"
	_ "embed"
	"fmt"
	"net"
	"path/filepath"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

//go:embed explained.txt
var explainedText string

//go:embed explained-pool.txt
var explainedPoolText string

//go:embed explained-pooler.txt
var explainedPoolerText string

// connecting are the packages whose tests make connections in ways of their own, by their folder in the module.
var connecting = []string{".", "pgconn", "pgxpool", "stdlib"}

// way is what the tests are run through.
type way struct {
	name       string
	packages   []string
	explained  string // the reasons
	parameters string // of the driver
	alone      bool   // each test in a process of its own
	open       func(context.Context, *server) (env []string, end func() error, err error)
}

var ways = []*way{
	{name: "driver", packages: connecting, explained: explainedText, open: throughDriver},
	{
		name: "pool", packages: []string{"stdlib"}, explained: explainedPoolText, parameters: "pool_mode=transaction",
		open: throughDriver,
	},
	{
		name: "pooler", packages: append(connecting[:len(connecting):len(connecting)], "pgtype", "pgtype/zeronull", "tracelog", "multitracer"),
		explained: explainedPoolerText, alone: true, open: throughPooler,
	},
}

func findWay(name string) (*way, error) {
	for _, w := range ways {
		if w.name == name {
			return w, nil
		}
	}
	return nil, fmt.Errorf("compat: -through %s: there are driver, pool and pooler", name)
}

// known are the reasons for what differs.
func (w *way) known() (reasons, error) {
	return parseReasons(w.explained)
}

func throughDriver(context.Context, *server) ([]string, func() error, error) {
	return []string{"COMPAT_THROUGH=1"}, func() error { return nil }, nil
}

// throughPooler runs a pooler in transaction mode before the server. Clients come in without a password, and with SCRAM, in
// the clear and over TLS; the other ways to log in are not the pooler's, and their tests are skipped.
func throughPooler(ctx context.Context, s *server) ([]string, func() error, error) {
	db, err := driver.ParseConfig(s.login("pgx_md5"))
	if err != nil {
		return nil, nil, err
	}
	cert, err := s.certificate()
	if err != nil {
		return nil, nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	p, err := pooler.New(pooler.Config{
		Listeners: []pooler.Listener{
			{Address: fmt.Sprintf("127.0.0.1:%d", port), Login: pooler.LoginTrust},
			{Address: filepath.Join(s.dir, fmt.Sprintf(".s.PGSQL.%d", port)), Login: pooler.LoginTrust},
			{Address: "127.0.0.1:0", Login: pooler.LoginPassword, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}},
		},
		Users: map[string]pooler.User{
			"pgx_scram": {Password: "secret"}, "pgx_ssl": {Password: "secret"},
		},
		Clusters: map[string]*pooler.Cluster{"main": {Database: db}},
	})
	if err != nil {
		return nil, nil, err
	}
	if err := p.Listen(ctx); err != nil {
		return nil, nil, err
	}
	addrs, err := p.Addrs(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	end := func() error {
		stop()
		return <-ended
	}
	env := append(s.environmentOf(port, addrs[2].(*net.TCPAddr).Port), "PGX_TEST_MD5_PASSWORD_CONN_STRING=",
		"PGX_TEST_PLAIN_PASSWORD_CONN_STRING=", "PGX_TEST_TLS_CLIENT_CONN_STRING=")
	return env, end, nil
}
