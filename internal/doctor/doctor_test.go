package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a cluster with its AWS, in which everything is right.
type world struct {
	*rdstest.Cluster
	aws    *fakeaws.Server
	secret *fakeaws.Secret
}

const confidential = "c0nf1dential"

func newWorld(t *testing.T) world {
	t.Helper()
	aws := fakeaws.Start(t)
	setEnvironment(t, aws)
	w := world{Cluster: rdstest.Start(t, rdstest.Config{IAM: aws.VerifyToken, Readers: 1}), aws: aws}
	ctx := testContext(t)
	must(t, w.CreateUser(ctx, "iam", ""))
	must(t, w.CreateUser(ctx, "keeper", confidential))
	w.secret = aws.CreateSecret("prod/app", fmt.Sprintf(`{"username":"keeper","password":%q}`, confidential))
	admin, err := w.AdminConn(ctx, w.Writer())
	must(t, err)
	_, err = admin.Exec(ctx, commit.Migration())
	must(t, err)
	must(t, admin.Close(ctx))
	must(t, w.WaitSettled(ctx))
	return w
}

func setEnvironment(t *testing.T, aws *fakeaws.Server) {
	for name, value := range aws.Environment() {
		t.Setenv(name, value)
		if value == "" {
			os.Unsetenv(name)
		}
	}
}

// examine runs the checks for a DSN, after a change to its Config.
func (w world) examine(t *testing.T, dsn string, change func(*driver.Config)) *Report {
	t.Helper()
	cfg, err := driver.ParseConfig(dsn)
	must(t, err)
	cfg.Resolver = w.Resolver()
	if change != nil {
		change(cfg)
	}
	r := Examine(testContext(t), cfg)
	var text bytes.Buffer
	must(t, r.Print(&text))
	must(t, r.PrintJSON(&text))
	for _, secret := range []string{confidential, "X-Amz-Signature"} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("%q is in\n%s", secret, text.String())
		}
	}
	return r
}

func (r *Report) find(name string) Check {
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{}
}

func TestAHealthyClusterHasNothingToMend(t *testing.T) {
	w := newWorld(t)
	for name, dsn := range map[string]string{
		"password": w.UserDSN("keeper", confidential),
		"iam":      w.UserDSN("iam", "") + "&auth=iam",
		"secret":   w.DSN() + "&auth=secret&secret_id=prod/app",
		"reader":   w.ReaderDSN() + "&auth=secret&secret_id=prod/app",
	} {
		r := w.examine(t, dsn, nil)
		var names []string
		for _, c := range r.Checks {
			names = append(names, c.Name)
			if aws := c.Name == "aws" && name == "password"; c.Status != OK && !(aws && c.Status == Skipped) {
				t.Errorf("%s: %+v", name, c)
			}
			if c.Found == "" || c.Remedy != "" {
				t.Errorf("%s: %+v", name, c)
			}
		}
		want := []string{"dns", "tcp", "tls", "aws", "credential", "login", "privileges", "topology", "replicas", "continuity", "limits"}
		if !slices.Equal(names, want) || !r.Healthy() {
			t.Errorf("%s: %v", name, names)
		}
	}
}

func TestEachFaultIsFoundWithItsRemedy(t *testing.T) {
	w := newWorld(t)
	iam, secret := w.UserDSN("iam", "")+"&auth=iam", w.DSN()+"&auth=secret&secret_id=prod/app"
	keeper := w.UserDSN("keeper", confidential)
	for _, c := range []struct {
		name   string
		dsn    string
		change func(*driver.Config)
		fault  func(t *testing.T) (mend func())
		check  string
		status Status
		found  string
		remedy string
	}{
		{name: "unknown name", dsn: strings.Replace(keeper, "app.cluster", "no.cluster", 1), check: "dns", status: Failed, found: "no such host", remedy: "dig +short"},
		{name: "refused", dsn: keeper, check: "tcp", status: Failed, found: "refused", remedy: "describe-db-instances", fault: func(*testing.T) func() {
			for _, in := range w.Instances() {
				in.Front().Refuse()
			}
			return func() {
				for _, in := range w.Instances() {
					in.Front().Pass()
				}
			}
		}},
		{name: "no TLS wanted", dsn: strings.Replace(keeper, "verify-full", "disable", 1), check: "tls", status: Warning, found: "asks for none", remedy: "sslmode=verify-full"},
		{name: "unverified", dsn: strings.Replace(keeper, "sslmode=verify-full&sslrootcert="+w.CAFile(), "sslmode=require", 1), check: "tls", status: Warning, found: "not verified", remedy: "sslmode=verify-full"},
		{name: "another authority", dsn: strings.Replace(keeper, "&sslrootcert="+w.CAFile(), "&sslrootcert=rds", 1), check: "tls", status: Failed, found: "Fairlead test authority", remedy: "sslrootcert"},
		{name: "another name", dsn: keeper, check: "tls", status: Failed, found: "not for other.example.com", remedy: "iam_host", change: func(cfg *driver.Config) {
			cfg.Conn.TLSConfig.ServerName = "other.example.com"
		}},
		{name: "expired", dsn: keeper, check: "tls", status: Failed, found: "is good from", remedy: "--ca-certificate-identifier", change: func(cfg *driver.Config) {
			cfg.Conn.TLSConfig.Time = func() time.Time { return time.Now().AddDate(1, 0, 0) }
		}},
		{name: "not PostgreSQL", dsn: keeper, check: "tls", status: Failed, found: "protocol version", remedy: "before certificates count", change: func(cfg *driver.Config) {
			cfg.Conn.TLSConfig.MinVersion, cfg.Conn.TLSConfig.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
		}},
		{name: "clock", dsn: iam, check: "aws", status: Failed, found: "off", remedy: "chronyc", fault: func(*testing.T) func() {
			w.aws.SetSkew(20 * time.Minute)
			return func() { w.aws.SetSkew(0) }
		}},
		{name: "no AWS credentials", dsn: iam, check: "aws", status: Failed, found: "no AWS credentials", remedy: "role", fault: func(t *testing.T) func() {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
			return func() {}
		}},
		{name: "no way to STS", dsn: iam, check: "aws", status: Warning, found: "unreachable", remedy: "interface endpoint", fault: func(t *testing.T) func() {
			t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
			return func() {}
		}},
		{name: "secret denied", dsn: secret, check: "credential", status: Failed, found: "access denied", remedy: `"Action":"secretsmanager:GetSecretValue"`, fault: func(*testing.T) func() {
			w.secret.Refuse("AccessDeniedException", "not authorized")
			return func() { w.secret.Refuse("", "") }
		}},
		{name: "no password", dsn: w.UserDSN("keeper", ""), check: "credential", status: Warning, found: "no password", remedy: "PGPASSWORD"},
		{name: "wrong password", dsn: w.UserDSN("keeper", "wrong"), check: "login", status: Failed, found: "28P01", remedy: "ALTER ROLE"},
		{name: "wrong secret", dsn: secret, check: "login", status: Failed, found: "every version refused", remedy: "rotate-secret", fault: func(*testing.T) func() {
			text := w.secret.Stage(fakeaws.Current)
			w.secret.Put(`{"username":"keeper","password":"wrong"}`)
			w.secret.Put(`{"username":"keeper","password":"wrong too"}`)
			return func() { w.secret.Put(text) }
		}},
		{name: "no grant for tokens", dsn: w.UserDSN("keeper", "") + "&auth=iam", check: "login", status: Failed, found: "token refused", remedy: "GRANT rds_iam"},
		{name: "another region", dsn: iam + "&aws_region=us-east-1", check: "login", status: Failed, found: "region mismatch", remedy: "leave aws_region out"},
		{name: "no database", dsn: strings.Replace(keeper, "/app?", "/none?", 1), check: "login", status: Failed, found: "3D000", remedy: "CREATE DATABASE"},
		{name: "token users", dsn: w.UserDSN("iam", "x"), check: "login", status: Failed, found: "28000", remedy: "rds.force_ssl"},
		{name: "no topology", dsn: keeper + "&topology=none", check: "topology", status: Warning, found: "DNS alone", remedy: "topology=auto"},
		{name: "no pattern", dsn: keeper, check: "topology", status: Warning, found: "nothing tells the hosts", remedy: "instance_host_pattern", change: func(cfg *driver.Config) {
			cfg.InstanceHostPattern = ""
		}},
		{name: "a replica that cannot be reached", dsn: keeper, check: "replicas", status: Failed, found: "cannot be reached", remedy: "security group", fault: func(*testing.T) func() {
			w.Readers()[0].Front().Refuse()
			return w.Readers()[0].Front().Pass
		}},
		{name: "continuity off", dsn: keeper + "&continuity=off", check: "continuity", status: Warning, found: "continuity=off", remedy: "continuity=full"},
		{name: "undecided", dsn: keeper + "&commit_resolution=off", check: "continuity", status: Warning, found: "08007", remedy: "commits-table"},
		{name: "unusable", dsn: keeper + "&commit_resolution=lsn", check: "login", status: Failed, found: "lsn", remedy: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.fault != nil {
				defer c.fault(t)()
			}
			r := w.examine(t, c.dsn, c.change)
			got := r.find(c.check)
			if got.Status != c.status || !strings.Contains(got.Found, c.found) || !strings.Contains(got.Remedy, c.remedy) {
				t.Errorf("%+v\nwant %s, %q, %q", got, c.status, c.found, c.remedy)
			}
			if c.status == Failed && r.Healthy() {
				t.Errorf("healthy: %v; %+v", r.Healthy(), r.Checks)
			}
		})
	}
}

func TestAClusterOfOneHasNowhereToGo(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	r := world{Cluster: c}.examine(t, c.DSN(), nil)
	if got := r.find("replicas"); got.Status != Warning || !strings.Contains(got.Remedy, "all hosts") {
		t.Errorf("%+v", got)
	}
	if got := r.find("continuity"); got.Status != OK || !strings.Contains(got.Found, "lsn") {
		t.Errorf("%+v", got)
	}
}

func TestAServerWithoutTLSIsFound(t *testing.T) {
	f, err := front.Listen(front.Config{Network: "tcp", Address: "127.0.0.1:0", Dial: func(context.Context) (net.Conn, error) {
		client, _ := net.Pipe()
		return client, nil
	}})
	must(t, err)
	defer f.Close()
	cfg, err := driver.ParseConfig("postgres://app@" + f.Addr().String() + "/app?sslmode=require&failover_timeout=1s")
	must(t, err)
	if got := Examine(testContext(t), cfg).find("tls"); got.Status != Failed || !strings.Contains(got.Found, "no TLS") {
		t.Errorf("%+v", got)
	}
}

func TestRemediesFitThePlace(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(free.Addr().String())
	must(t, free.Close())
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		cfg, err := driver.ParseConfig("postgres://app:" + confidential + "@" + host + ":" + port + "/app?pool_max_conns=5&sslmode=disable")
		must(t, err)
		r := Examine(testContext(t), cfg)
		for _, c := range r.Checks {
			for _, word := range []string{"aws ", "RDS", "security group", "rds-ca", "VPC"} {
				if strings.Contains(c.Remedy, word) {
					t.Errorf("%s: %s: %q is advised for a server of this machine: %s", host, c.Name, word, c.Remedy)
				}
			}
		}
		if got := r.find("tcp"); got.Status != Failed || !strings.Contains(got.Remedy, "start the server") || !strings.Contains(got.Remedy, port) {
			t.Errorf("%s: %+v", host, got)
		}
		if got := r.find("tls"); got.Status == Warning {
			t.Errorf("%s: %+v", host, got)
		}
	}
}

func TestParametersOfPgxpoolAreFine(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	dsn := c.DSN()
	for _, p := range []string{"pool_max_conns=5", "pool_min_conns=1", "pool_min_idle_conns=1", "pool_max_conn_lifetime=1h", "pool_max_conn_idle_time=1m",
		"pool_max_conn_lifetime_jitter=1m", "pool_health_check_period=1m", "pool_ping_timeout=1s"} {
		dsn += "&" + p
	}
	r := world{Cluster: c}.examine(t, dsn, nil)
	if got := r.find("login"); got.Status != OK || !r.Healthy() {
		t.Errorf("%+v", r.Checks)
	}
}

func TestTheReportForPrograms(t *testing.T) {
	r := &Report{DSN: "host=h", Checks: []Check{{Name: "dns", Status: Failed, Found: "no <such> host", Remedy: "dig"}}}
	var b bytes.Buffer
	must(t, r.PrintJSON(&b))
	var got struct {
		Healthy bool
		DSN     string
		Checks  []Check
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got.Healthy || got.DSN != r.DSN || !slices.Equal(got.Checks, r.Checks) || !strings.Contains(b.String(), "<such>") {
		t.Errorf("%s: %v", b.String(), err)
	}
}
