package clients

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// Config is the driver's for a cluster, with these parameters in its DSN.
func Config(c *rdstest.Cluster, flavor rdstest.Flavor, params map[string]string) (*driver.Config, error) {
	dsn := c.DSN()
	if flavor == rdstest.Replication {
		dsn = c.MultiHostDSN()
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("clients: the cluster's DSN is not a URL")
	}
	q := u.Query()
	for k, v := range params {
		q.Set(k, v)
	}
	u.RawQuery = q.Encode()
	dc, err := driver.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	dc.Resolver = c.Resolver()
	return dc, nil
}

// Databases are pools of database/sql.
type Databases struct {
	SQL *sql.DB // with pgx
	PQ  *sql.DB // with lib/pq
}

// Open opens them. They share what is known of the cluster.
func Open(dc *driver.Config) (*Databases, error) {
	connector, err := driver.NewConnector(dc)
	if err != nil {
		return nil, err
	}
	d := &Databases{SQL: sql.OpenDB(connector)}
	dialer, err := driver.NewDialer(dc)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	p, err := pq.NewConnector(fmt.Sprintf("user=%s dbname=%s sslmode=disable", dc.Conn.User, dc.Conn.Database))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clients: open lib/pq: %w", err), d.Close())
	}
	p.Dialer(dialer)
	d.PQ = sql.OpenDB(p)
	return d, nil
}

// Close closes both.
func (d *Databases) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.SQL, d.PQ} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Segment reads what a pipeline returns up to its next Sync. failed is what the server said of the segment, err that there is
// nothing more to be read.
func Segment(p *pgconn.Pipeline) (failed, err error) {
	for {
		got, err := p.GetResults()
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
			failed = errors.Join(failed, err)
			continue
		}
		switch r := got.(type) {
		case *pgconn.ResultReader:
			_, e := r.Close()
			failed = errors.Join(failed, e)
		case *pgconn.PipelineSync:
			return failed, err
		}
		if err == nil && got == nil {
			err = errors.New("the pipeline ended early")
		}
		if err != nil {
			return failed, err
		}
	}
}
