package main

import (
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// comparison runs the tests of packages in both ways.
type comparison struct {
	w       *workspace
	bins    map[string]string
	env     []string
	way     []string // what the environment has besides for what is not run directly
	alone   bool     // what is not run directly is run test by test
	known   reasons
	timeout time.Duration
}

// run runs the tests that match a pattern, and once more, one package after the other, those with a difference that nothing
// explains: a busy machine fails tests too.
func (c *comparison) run(ctx context.Context, packages []string, pattern string) (*report, error) {
	direct, err := c.all(ctx, packages, pattern, false)
	if err != nil {
		return nil, err
	}
	through, err := c.all(ctx, packages, pattern, true)
	if err != nil {
		return nil, err
	}
	rep := &report{known: c.known}
	for _, pkg := range packages {
		list := compare(title(pkg), direct[pkg], through[pkg])
		if again := unexplained(list, c.known); len(again) > 0 {
			progress("%s: once more what differs", title(pkg))
			second, err := c.one(ctx, pkg, testsOf(again), true)
			if err != nil {
				return nil, err
			}
			for i, d := range list {
				list[i].unsteady = second.outcomes[d.test] == passed
			}
		}
		rep.rows = append(rep.rows, row{title(pkg), direct[pkg], through[pkg], list})
	}
	return rep, nil
}

// all runs the packages' tests, as many packages at once as there are processors, as go test does.
func (c *comparison) all(ctx context.Context, packages []string, pattern string, through bool) (map[string]*results, error) {
	list := make([]*results, len(packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, pkg := range packages {
		g.Go(func() (err error) {
			list[i], err = c.one(ctx, pkg, pattern, through)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	byPkg := make(map[string]*results)
	for i, pkg := range packages {
		byPkg[pkg] = list[i]
	}
	return byPkg, nil
}

func (c *comparison) one(ctx context.Context, pkg, pattern string, through bool) (*results, error) {
	r := testRun{
		json: c.w.json, bin: c.bins[pkg], dir: filepath.Join(c.w.pgx(), pkg), env: c.env, pattern: pattern, timeout: c.timeout,
	}
	way, run := "directly", r.run
	if through {
		way = "through Fairlead"
		r.env = append(slices.Clone(c.env), c.way...)
		r.skip = c.known.skip(title(pkg))
		run = r.run
		if c.alone {
			run = r.runAlone
		}
	}
	res, err := run(ctx)
	if err != nil {
		return nil, err
	}
	progress("%s: %s %d pass in %.0f s", title(pkg), way, res.count(passed), res.took.Seconds())
	return res, nil
}
