package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/commit"
)

const notLoggedIn = "not logged in"

// login connects through the driver.
func (e *examination) login(ctx context.Context) Check {
	switch {
	case !e.reached:
		return skip("no host was reached")
	case e.unusable:
		return skip("there is nothing to log in with")
	}
	cfg := e.cfg.Copy()
	cfg.FailoverTimeout = min(cfg.FailoverTimeout, 2*patience)
	pool, err := driver.PoolConfig(cfg) // not ConnConfig: the DSN may have parameters for pgxpool
	if err != nil {
		return Check{Status: Failed, Found: err.Error()}
	}
	conn, err := pgx.ConnectConfig(ctx, pool.ConnConfig)
	if err != nil {
		return e.explainLogin(err)
	}
	e.conn = conn
	var user, database, version string
	if err := e.ask(ctx, "select current_user, pg_catalog.current_database(), pg_catalog.current_setting('server_version')", &user, &database, &version); err != nil {
		return Check{Status: Failed, Found: err.Error()}
	}
	return ok("as %s to %s, PostgreSQL %s", user, database, version)
}

// ask scans the only row of a query's answer. The query looks for nothing outside the server's own schema.
func (e *examination) ask(ctx context.Context, sql string, to ...any) error {
	return pgx.BeginFunc(ctx, e.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local search_path to pg_catalog"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sql).Scan(to...)
	})
}

// explainLogin says what a refusal means.
func (e *examination) explainLogin(err error) Check {
	if awscreds.ReasonOf(err) != "" {
		return failedWith(err)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fail(err.Error(), "see the steps before; a cluster of which no writer answers says so here")
	}
	user, database := e.cfg.Conn.User, e.cfg.Conn.Database
	remedy := ""
	switch pg.Code {
	case "28P01":
		remedy = "the password is wrong: ALTER ROLE " + pgx.Identifier{user}.Sanitize() + " PASSWORD '…'"
		if e.place() != here {
			remedy += "; or set auth=secret and secret_id"
		}
	case "28000":
		setting := "pg_hba.conf"
		if e.place() != here {
			setting += " or rds.force_ssl (sslmode=verify-full)"
		}
		remedy = "the server does not let this user in this way: check " + setting + ", and ALTER ROLE " + pgx.Identifier{user}.Sanitize() + " LOGIN"
	case "3D000":
		remedy = "name a database that exists in the DSN, or CREATE DATABASE " + pgx.Identifier{database}.Sanitize()
	case "53300":
		remedy = "the server has no connection to spare: raise max_connections, or lower the size of the pools"
	case "42501":
		remedy = "GRANT CONNECT ON DATABASE " + pgx.Identifier{database}.Sanitize() + " TO " + pgx.Identifier{user}.Sanitize()
	}
	return Check{Status: Failed, Found: err.Error(), Remedy: remedy}
}

// privileges asks for the functions by which the cluster is watched.
func (e *examination) privileges(ctx context.Context) Check {
	if e.conn == nil {
		return skip(notLoggedIn)
	}
	var lacking []string
	err := e.ask(ctx, `select pg_catalog.array_agg(p.oid::pg_catalog.regprocedure::pg_catalog.text order by p.proname) from pg_catalog.pg_proc p
		where p.pronamespace operator(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace and p.proname operator(pg_catalog.=) any
		(array['pg_control_system', 'pg_postmaster_start_time', 'pg_is_in_recovery', 'aurora_replica_status', 'aurora_db_instance_identifier']::pg_catalog.name[])
		and not pg_catalog.has_function_privilege(p.oid, 'execute')`, &lacking)
	if err != nil {
		return Check{Status: Failed, Found: err.Error()}
	}
	if len(lacking) > 0 {
		return warn("no right to "+strings.Join(lacking, ", "), "GRANT EXECUTE ON FUNCTION %s TO %s", strings.Join(lacking, ", "), pgx.Identifier{e.cfg.Conn.User}.Sanitize())
	}
	return ok("the functions that tell what an instance is may be called")
}

// topology asks the server what it is.
func (e *examination) topology(ctx context.Context) Check {
	if e.conn == nil {
		return skip(notLoggedIn)
	}
	var standby bool
	err := e.ask(ctx, "select pg_catalog.to_regproc('pg_catalog.aurora_replica_status') is not null, pg_catalog.pg_is_in_recovery()", &e.aurora, &standby)
	if err != nil {
		return Check{Status: Failed, Found: err.Error()}
	}
	role := "the writer"
	if standby {
		role = "a reader"
	}
	switch {
	case e.cfg.Topology == driver.TopologyNone:
		return warn("topology=none: "+role+" answers, and a failover is seen by DNS alone", "set topology=auto, unless this is a proxy")
	case e.aurora && e.cfg.InstanceHostPattern == "":
		return warn("Aurora, and nothing tells the hosts of its instances: a failover is waited for at the DSN's own host", "set instance_host_pattern, as in ?.xyz.eu-west-1.rds.amazonaws.com, unless only that host can be reached, as through a tunnel")
	case e.aurora:
		return ok("Aurora, and %s answers; instances are %s", role, e.cfg.InstanceHostPattern)
	case e.cfg.Topology == driver.TopologyAurora:
		return fail("topology=aurora, and the server has no function aurora_replica_status", "set topology=auto")
	}
	return ok("streaming replication, and %s answers", role)
}

// replicas looks whether there is somewhere to go in a failover, and whether it can be reached.
func (e *examination) replicas(ctx context.Context) Check {
	if e.conn == nil {
		return skip(notLoggedIn)
	}
	hosts := e.hosts
	switch {
	case e.aurora && e.cfg.InstanceHostPattern == "":
		return skip("the hosts of the instances are not known")
	case e.aurora:
		var ids []string
		err := e.ask(ctx, "select pg_catalog.array_agg(server_id::pg_catalog.text order by server_id) from pg_catalog.aurora_replica_status()", &ids)
		if err != nil {
			return Check{Status: Failed, Found: err.Error()}
		}
		hosts = nil
		for _, id := range ids {
			hosts = append(hosts, host{strings.Replace(e.cfg.InstanceHostPattern, "?", id, 1), e.hosts[0].port})
		}
	}
	var unreached []string
	for _, h := range hosts {
		if err := e.reach(ctx, h); err != nil {
			unreached = append(unreached, fmt.Sprintf("%s (%v)", h, err))
		}
	}
	switch {
	case len(unreached) > 0:
		return fail("cannot be reached: "+strings.Join(unreached, "; "), "%s", e.replicaRemedy())
	case len(hosts) < 2 && e.aurora:
		return warn("one instance", "a failover has nowhere to go: aws rds create-db-instance --db-cluster-identifier <cluster> --db-instance-identifier <name> --engine aurora-postgresql --db-instance-class <class>")
	case len(hosts) < 2:
		return warn("one host", "a failover has nowhere to go: name all hosts of the cluster in the DSN")
	}
	return ok("%d instances, all of them are reached", len(hosts))
}

// reach connects to a host, by TCP alone.
func (e *examination) reach(ctx context.Context, h host) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if name, port, err := net.SplitHostPort(h.name); err == nil {
		h.name = name
		if _, err := fmt.Sscan(port, &h.port); err != nil {
			return err
		}
	}
	if len(e.addrs[h.name]) == 0 {
		addrs, err := e.resolver.LookupHost(ctx, h.name)
		if err != nil {
			return err
		}
		e.addrs[h.name] = addrs
	}
	conn, err := e.dial(ctx, h)
	if err != nil {
		return err
	}
	return conn.Close()
}

// querier is a connection for the check of commits.
type querier struct{ conn *pgconn.PgConn }

func (q querier) Query(ctx context.Context, sql string) (first string, err error) {
	results, err := q.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	for _, r := range results {
		if len(r.Rows) > 0 && len(r.Rows[0]) > 0 {
			return string(r.Rows[0][0]), nil
		}
	}
	return "", nil
}

// continuity looks how a commit would be decided whose answer was lost.
func (e *examination) continuity(ctx context.Context) Check {
	switch {
	case e.conn == nil:
		return skip(notLoggedIn)
	case e.cfg.Continuity != driver.ContinuityFull:
		return warn("continuity="+string(e.cfg.Continuity), "set continuity=full to have transactions replayed and commits decided")
	}
	mode, err := commit.Check(ctx, querier{e.conn.PgConn()}, commit.Setting(e.cfg.CommitResolution))
	switch {
	case err != nil:
		return Check{Status: Failed, Found: err.Error()}
	case mode == commit.Off:
		return warn("commits whose answer is lost are undecided (08007)", "go run github.com/fairlead-go/fairlead/cmd/fairlead commits-table --apply <DSN of an administrator>")
	}
	return ok("commits whose answer is lost are decided by %v", mode)
}

// limits looks at how much the server allows, and at the grant for tokens.
func (e *examination) limits(ctx context.Context) Check {
	if e.conn == nil {
		return skip(notLoggedIn)
	}
	var most, reserved, used int
	var tokens bool
	err := e.ask(ctx, `select pg_catalog.current_setting('max_connections')::int, pg_catalog.current_setting('superuser_reserved_connections')::int,
		(select coalesce(pg_catalog.sum(numbackends), 0)::int from pg_catalog.pg_stat_database),
		coalesce((select pg_catalog.pg_has_role(current_user, oid, 'member') from pg_catalog.pg_roles where rolname operator(pg_catalog.=) 'rds_iam'), false)`, &most, &reserved, &used, &tokens)
	if err != nil {
		return Check{Status: Failed, Found: err.Error()}
	}
	found := fmt.Sprintf("%d of %d connections are in use", used, most-reserved)
	switch {
	case used*5 > (most-reserved)*4:
		where := ""
		if e.place() == onRDS {
			where = " in the parameter group"
		}
		return warn(found, "raise max_connections%s, or lower the size of the pools", where)
	case tokens && e.cfg.Auth != driver.AuthIAM && e.cfg.Credentials == nil:
		return warn(found+"; the user has the role rds_iam, and RDS takes no password from it", "set auth=iam")
	}
	return ok("%s", found)
}
