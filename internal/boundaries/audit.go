package boundaries

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// audit counts the effects of a run, when no server process but that with the given number can still add to them.
func (c *cutter) audit(ctx context.Context, u *unit, id, pid int, o *outcome) error {
	if err := c.alone(ctx, pid); err != nil {
		return err
	}
	var err error
	switch {
	case u.notifies:
		err = c.countNotifications(ctx, id, o)
	case u.times != "":
		var rows pgx.Rows
		if rows, err = c.admin.Query(ctx, fill(u.times, id)); err == nil {
			o.times, err = pgx.CollectRows(rows, pgx.RowTo[int])
		}
	default:
		err = c.countRows(ctx, u, id, o)
	}
	if err != nil {
		return fmt.Errorf("count its effects: %w", err)
	}
	for len(o.times) < u.effects {
		o.times = append(o.times, 0)
	}
	for _, st := range u.after {
		_, _ = c.admin.Exec(ctx, fill(st, id))
	}
	return nil
}

// countRows counts the effects by their rows, which are there together or not at all.
func (c *cutter) countRows(ctx context.Context, u *unit, id int, o *outcome) error {
	o.times = make([]int, u.effects)
	there := make(map[[2]int]int)
	rows, err := c.admin.Query(ctx, "select effect, row, count(*)::int from boundaries.effects where run = $1 group by 1, 2", id)
	if err != nil {
		return err
	}
	var effect, row, n int
	if _, err := pgx.ForEachRow(rows, []any{&effect, &row, &n}, func() error {
		there[[2]int{effect, row}] = n
		return nil
	}); err != nil {
		return err
	}
	for effect := range u.effects {
		o.times[effect] = there[[2]int{effect, 0}]
		for row := range max(u.rows, 1) {
			o.torn = o.torn || there[[2]int{effect, row}] != o.times[effect]
			delete(there, [2]int{effect, row})
		}
	}
	o.torn = o.torn || len(there) > 0
	return nil
}

// countNotifications counts the notifications of a run. They come in the order of their commits, so none is to come behind one that is
// sent now.
func (c *cutter) countNotifications(ctx context.Context, id int, o *outcome) error {
	last := fmt.Sprintf("after %d", id)
	if _, err := c.admin.Exec(ctx, "select pg_notify('boundaries', $1)", last); err != nil {
		return err
	}
	o.times = []int{0}
	for {
		n, err := c.hears.WaitForNotification(ctx)
		switch {
		case err != nil:
			return err
		case n.Payload == last:
			return nil
		case n.Payload == strconv.Itoa(id):
			o.times[0]++
		}
	}
}

// alone waits until no server process of the user's is left but one, and that of the connection that watches the cluster.
func (c *cutter) alone(ctx context.Context, but int) error {
	for {
		var n int
		err := c.admin.QueryRow(ctx, `select count(*)::int from pg_stat_activity where usename = 'app'
			and backend_type = 'client backend' and application_name <> 'fairlead-topology' and pid <> $1`, but).Scan(&n)
		if err != nil {
			return fmt.Errorf("wait for the end of the session: %w", err)
		}
		if n == 0 {
			return nil
		}
		timer := time.NewTimer(time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%d server processes of the session do not end: %w", n, context.Cause(ctx))
		}
	}
}

// verdictCounter is the driver's metric of what became of sessions.
const verdictCounter = "fairlead.session.losses"

// reasons are the driver's own verdicts since the last call.
func (c *cutter) reasons(ctx context.Context) (names []string, err error) {
	var data metricdata.ResourceMetrics
	if err := c.reader.Collect(ctx, &data); err != nil {
		return nil, fmt.Errorf("read the driver's metrics: %w", err)
	}
	counts := make(map[string]int64)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != verdictCounter {
				continue
			}
			for _, p := range sum.DataPoints {
				v, _ := p.Attributes.Value("verdict")
				counts[v.AsString()] += p.Value
			}
		}
	}
	for name, n := range counts {
		for range n - c.counted[name] {
			names = append(names, name)
		}
	}
	c.counted = counts
	return names, nil
}
