package rdstest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/rdstest/front"
	"github.com/fairlead-go/fairlead/rdstest/internal/names"
	"github.com/fairlead-go/fairlead/rdstest/internal/testca"
)

// begin makes everything and starts the servers.
func (c *Cluster) begin(ctx context.Context) error {
	bin, account, template, err := c.findRoom(ctx)
	if err != nil {
		return err
	}
	if c.ca, err = testca.New(); err != nil {
		return fmt.Errorf("rdstest: %w", err)
	}
	if err := os.WriteFile(c.CAFile(), c.ca.PEM(), 0o644); err != nil {
		return fmt.Errorf("rdstest: write the certificate: %w", err)
	}
	if c.dns, err = names.Start(); err != nil {
		return fmt.Errorf("rdstest: %w", err)
	}
	for i := range c.cfg.Readers + 1 {
		c.instances = append(c.instances, c.newInstance(i+1, bin, account))
	}
	c.writer = c.instances[0]
	c.writer.role = Writer
	if err := c.listen(); err != nil {
		return err
	}
	if err := c.copyData(ctx, bin, account, template); err != nil {
		return err
	}
	return c.startAll(ctx)
}

// findRoom finds PostgreSQL, and gets the cluster's directory and the template to copy.
func (c *Cluster) findRoom(ctx context.Context) (bin binaries, a account, template string, err error) {
	leave, err := sharedHome.enter(ctx)
	if err != nil {
		return bin, a, "", err
	}
	defer leave()
	if bin, err = sharedHome.find(ctx, c.cfg.BinDir); err != nil {
		return bin, a, "", err
	}
	key := templateKey{binDir: bin.dir, flavor: c.cfg.Flavor, walFunctions: c.cfg.WALFunctions}
	if template, err = sharedHome.template(ctx, bin, key); err != nil {
		return bin, a, "", err
	}
	c.secrets = sharedHome.secrets
	c.dir, err = sharedHome.newClusterDir()
	return bin, sharedHome.account, template, err
}

func (c *Cluster) newInstance(number int, bin binaries, a account) *Instance {
	id := fmt.Sprintf("%s-%d", c.cfg.Name, number)
	return &Instance{
		cluster: c, number: number, id: id, host: fmt.Sprintf("%s.%s.%s", id, c.hash, domain), role: Reader,
		server: &server{bin: bin, account: a, dir: filepath.Join(c.dir, strconv.Itoa(number)), secrets: c.secrets},
	}
}

// listenAttempts bounds the search for a port that is free on all addresses.
const listenAttempts = 50

// listen opens the fronts of all instances.
func (c *Cluster) listen() error {
	var err error
	for range listenAttempts {
		addrs := c.pickAddresses()
		if err = c.listenOn(addrs); err == nil {
			break
		}
		for _, in := range c.instances {
			if in.front != nil {
				_ = in.front.Close() // it was never used
				in.front = nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("rdstest: find addresses to listen on: %w", err)
	}
	port := c.instances[0].addr.Port()
	for _, in := range c.instances {
		s := in.server
		s.port = port
		if err := errors.Join(s.account.mkdir(s.dir, 0o700), s.account.mkdir(s.uplinkDir(), 0o700)); err != nil {
			return fmt.Errorf("rdstest: make the directory of %s: %w", in.id, err)
		}
		in.uplink, err = front.Listen(front.Config{
			Network: "unix", Address: s.uplink(), Dial: c.dialWriter, Logger: c.cfg.Logger.With("instance", in.id, "front", "uplink"),
		})
		if err == nil {
			err = s.account.chown(s.uplink())
		}
		if err != nil {
			return fmt.Errorf("rdstest: open the uplink of %s: %w", in.id, err)
		}
	}
	return nil
}

// pickAddresses has an address of its own for each instance, all with the same port, where the whole of 127.0.0.0/8 is
// loopback. Elsewhere each gets a port.
func (c *Cluster) pickAddresses() []netip.AddrPort {
	port := uint16(20000 + rand.IntN(12000)) // below those that the kernel gives out
	x, y := byte(1+rand.IntN(254)), byte(rand.IntN(256))
	var addrs []netip.AddrPort
	for _, in := range c.instances {
		if runtime.GOOS == "linux" {
			addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, x, y, byte(in.number)}), port))
		} else {
			addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
		}
	}
	return addrs
}

func (c *Cluster) listenOn(addrs []netip.AddrPort) error {
	for i, in := range c.instances {
		cert, err := c.ca.Issue([]string{in.host, c.host(), c.readerHost()}, []netip.Addr{addrs[i].Addr()})
		if err != nil {
			return err
		}
		in.front, err = front.Listen(front.Config{
			Network: "tcp", Address: addrs[i].String(), Dial: in.server.dial,
			TLS:    &tls.Config{Certificates: []tls.Certificate{cert}},
			Guard:  c.guard(in),
			Logger: c.cfg.Logger.With("instance", in.id, "front", "clients"),
		})
		if err != nil {
			return err
		}
		in.front.Refuse() // there is no server yet
		in.sky = sky{closed: true}
		if in.addr, err = netip.ParseAddrPort(in.front.Addr().String()); err != nil {
			return err
		}
	}
	return nil
}

// dialWriter is how uplinks reach the writer.
func (c *Cluster) dialWriter(ctx context.Context) (net.Conn, error) {
	c.mu.Lock()
	w, fenced := c.writer, c.fenced
	c.mu.Unlock()
	if fenced {
		return nil, errors.New("another writer is taking over")
	}
	return w.server.dial(ctx)
}

// copyData gives every instance its data. The readers begin with a copy of what the writer begins with.
func (c *Cluster) copyData(ctx context.Context, bin binaries, a account, template string) error {
	w := c.writer.server
	if err := a.run(ctx, w.dir, nil, "cp", "-Rp", template, w.data()); err != nil {
		return fmt.Errorf("rdstest: copy the template: %w", err)
	}
	if err := a.individualise(ctx, bin, w.data(), c.password); err != nil {
		return err
	}
	return each(c.instances, func(in *Instance) error {
		s := in.server
		if in != c.writer {
			if err := a.run(ctx, s.dir, nil, "cp", "-Rp", w.data(), s.data()); err != nil {
				return fmt.Errorf("rdstest: copy data to %s: %w", in.id, err)
			}
			if err := s.standby(); err != nil {
				return fmt.Errorf("rdstest: make %s a standby: %w", in.id, err)
			}
		}
		return s.prepare(c.cfg.IAM != nil)
	})
}

// startAll starts all servers, and waits until the readers follow.
func (c *Cluster) startAll(ctx context.Context) error {
	if err := each(c.instances, c.launch); err != nil {
		return err
	}
	c.writeStatus()
	err := each(c.instances, func(in *Instance) error {
		err := c.open(ctx, in)
		if in == c.writer {
			c.hurry()
		}
		return err
	})
	if err != nil {
		return err
	}
	c.pointWriter(0)
	c.pointReaders(0)
	c.wg.Go(c.keep)
	return c.awaitSettled(ctx)
}

// launch starts the server of an instance with the configuration that it should have now.
func (c *Cluster) launch(in *Instance) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	in.synced = c.synchronous(in)
	if err := in.server.configure(serverConfig{id: in.id, synchronous: in.synced}); err != nil {
		return fmt.Errorf("rdstest: %w", err)
	}
	// The server may end before this returns; that is heard of after the lock is free.
	p, err := in.server.start(func(p *process) { c.ended(in, p) })
	if err != nil {
		return fmt.Errorf("rdstest: %w", err)
	}
	in.process, in.since, in.furthest, in.confirmed = p, time.Now(), 0, false
	in.health = health{session: newSessionID(), seen: in.since}
	return nil
}

// open lets clients in to a server that was launched, and returns when it serves them.
func (c *Cluster) open(ctx context.Context, in *Instance) error {
	c.mu.Lock()
	p := in.process
	c.mu.Unlock()
	if p == nil {
		return fmt.Errorf("rdstest: start %s: the server has ended; its log ends with:\n%s", in.id, in.server.logTail(10))
	}
	if err := in.server.awaitSocket(ctx, p); err != nil {
		return fmt.Errorf("rdstest: start %s: %w", in.id, err)
	}
	c.locked(func() { in.serving = in.process == p })
	c.setFronts(in)
	if err := in.server.awaitReady(ctx, p); err != nil {
		return fmt.Errorf("rdstest: start %s: %w", in.id, err)
	}
	return nil
}

// ended takes note of a server's end, whoever ended it.
func (c *Cluster) ended(in *Instance, p *process) {
	c.mu.Lock()
	if in.process == p {
		in.process, in.serving, in.frozen = nil, false, false
		in.displace()
	}
	c.mu.Unlock()
	c.setFronts(in)
	in.server.admins.drop()
	c.cfg.Logger.Debug("rdstest: server has ended", "instance", in.id, "how", p.err)
	c.nudge()
}

// each runs f for all instances at the same time.
func each(instances []*Instance, f func(*Instance) error) error {
	errs := make([]error, len(instances))
	var wg sync.WaitGroup
	for i, in := range instances {
		wg.Go(func() { errs[i] = f(in) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
