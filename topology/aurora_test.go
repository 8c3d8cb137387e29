package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// auroraOf makes n Aurora instances whose hosts are 10.0.0.<id>, the first of them the writer.
func auroraOf(n int) []*server {
	var all []*server
	for i := range n {
		id := fmt.Sprint(i + 1)
		all = append(all, &server{id: "10.0.0." + id + ":5432", Report: Report{
			Kind: KindAurora, ID: id, InRecovery: i > 0, Boot: "boot-" + id, WriterID: "1", Members: membersOf(n, 1),
		}})
	}
	return all
}

func membersOf(n, writer int) (ms []Member) {
	for i := 1; i <= n; i++ {
		ms = append(ms, Member{ID: fmt.Sprint(i), IsWriter: i == writer, Lag: 10 * time.Millisecond})
	}
	return ms
}

// names is a Resolver over a map; a nil map never answers.
type names struct {
	mu    sync.Mutex
	hosts map[string]string
	asked int
}

func (n *names) LookupHost(ctx context.Context, host string) ([]string, error) {
	n.mu.Lock()
	n.asked++
	hosts := n.hosts
	n.mu.Unlock()
	if hosts == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := hosts[host]; a != "" {
		return []string{a}, nil
	}
	return nil, errors.New("no such host")
}

// named is a world whose servers are dialed by the address the cluster resolved, or by name as DNS has it now.
type named struct {
	*world
	dns *names
	by  sync.Map // host: number of logins
}

func (n *named) Open(ctx context.Context, ep Endpoint, addrs []netip.Addr) (Session, error) {
	n.by.Store(ep.Host, true)
	host := ""
	if len(addrs) > 0 {
		host = addrs[0].String()
	} else if all, err := n.dns.LookupHost(ctx, ep.Host); err == nil {
		host = all[0]
	} else {
		return nil, err
	}
	s, err := n.world.Open(ctx, Endpoint{Host: host, Port: ep.Port}, nil)
	if err != nil {
		return nil, err
	}
	return &namedConn{s, netip.MustParseAddr(host)}, nil
}

type namedConn struct {
	Session
	addr netip.Addr
}

func (c *namedConn) Probe(ctx context.Context) (Report, error) {
	r, err := c.Session.Probe(ctx)
	r.Addr = c.addr
	return r, err
}

const clusterHost = "app.cluster-xyz.eu-west-1.rds.amazonaws.com"

// auroraNamed is an Aurora cluster known by its endpoint's name alone.
func auroraNamed(n int) *named {
	w := &named{world: newWorld(auroraOf(n)...), dns: &names{hosts: map[string]string{clusterHost: "10.0.0.1"}}}
	for i := 1; i <= n; i++ {
		w.dns.hosts[fmt.Sprintf("%d.xyz.eu-west-1.rds.amazonaws.com", i)] = fmt.Sprintf("10.0.0.%d", i)
	}
	return w
}

func (n *named) watch(t *testing.T, change func(*Config)) *Cluster {
	t.Helper()
	cfg := Config{
		Name: "app", Seeds: []Endpoint{{Host: clusterHost, Port: 5432}}, Resolver: n.dns,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Attach(n))
	return c
}

// failover makes the n-th instance the writer in everybody's view.
func (w *world) failover(n int, boots string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.servers {
		if s.frozen != nil {
			continue
		}
		s.WriterID = fmt.Sprint(n)
		s.Members = membersOf(len(w.servers), n)
		s.InRecovery = s.ID != s.WriterID
	}
	w.servers[w.id(n)].Boot += boots
}

func TestAuroraInstancesAreFoundByTheClusterEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		in, s := pick(t, c, WantWriter, 0, time.Second)
		if in.ID != "1" || s.Kind != KindAurora || len(in.Addrs) != 1 || in.Addrs[0].String() != "10.0.0.1" {
			t.Fatalf("writer %+v in %+v", in, s)
		}
		if in.Endpoint.String() != "1.xyz.eu-west-1.rds.amazonaws.com:5432" {
			t.Fatalf("its endpoint is %v", in.Endpoint)
		}
		time.Sleep(time.Second)
		s = c.Snapshot()
		r := s.Readers()
		if len(s.Instances) != 3 || len(r) != 2 || r[0].ID != "2" || r[0].Lag != 10*time.Millisecond || len(r[1].Addrs) != 1 {
			t.Fatalf("%+v", s)
		}
		if _, asked := w.by.Load(r[0].Endpoint.Host); asked {
			t.Error("a reader was connected to though the writer's word is enough")
		}
	})
}

func TestAuroraFailsOverAndBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		for i, to := range []int{2, 1, 3, 1} {
			time.Sleep(time.Duration(i) * 20 * time.Second)
			old, _ := c.Snapshot().Writer()
			var from int
			_, _ = fmt.Sscan(old.ID, &from)
			w.crash(from)
			ticket := c.Suspect(old.ID, errGone)
			time.Sleep(2 * time.Second)
			w.failover(to, "")
			began := time.Now()
			in, s := pick(t, c, WantWriter, ticket, time.Minute)
			if in.ID != fmt.Sprint(to) || s.Epoch != uint64(i+2) || in.Addrs[0].String() != fmt.Sprintf("10.0.0.%d", to) {
				t.Fatalf("writer %+v in epoch %d", in, s.Epoch)
			}
			if d := time.Since(began); d > 100*time.Millisecond {
				t.Errorf("failover %d was seen after %v", i, d)
			}
			w.restart(from)
			time.Sleep(4 * time.Second)
			if in, _ := c.Snapshot().Find(old.ID); in.Role != Reader {
				t.Errorf("after failover %d the old writer is %v", i, in.Role)
			}
		}
		time.Sleep(10 * time.Second)
		if open, _, _ := w.counts(); open != 1 {
			t.Errorf("%d connections after all", open)
		}
	})
}

// A promotion can be over before any reader was asked. Then the new writer's claim waits for what the old one has to say, and
// the old one is to be asked where it was: the cluster's endpoint, where it answered once, is not asked again.
func TestAPromotionThatNobodySawIsBelievedOnceTheOldWriterIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(10 * time.Second)
		w.crash(1)
		w.failover(2, "")
		ticket := c.Suspect("1", errGone)
		began := time.Now()
		in, _ := pick(t, c, WantWriter, ticket, time.Minute)
		if d := time.Since(began); in.ID != "2" || d > 100*time.Millisecond {
			t.Fatalf("writer %s after %v", in.ID, d)
		}
	})
}

func TestAThawedAuroraWriterIsNotBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		w.freeze(1)
		c.Suspect("1", errGone)
		time.Sleep(3 * time.Second)
		w.failover(2, "+")
		pick(t, c, WantWriter, c.Now(), time.Second)
		time.Sleep(time.Minute)
		w.thaw(1)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if in, s := pick(t, c, WantWriter, c.Suspect("2", errGone), time.Second); in.ID != "2" || s.Epoch != 2 {
				t.Fatalf("writer %v in epoch %d", in.ID, s.Epoch)
			}
		}
	})
}

func TestAFailoverNeedsNoDNS(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		w.dns.mu.Lock()
		w.dns.hosts = nil // it hangs from now on
		w.dns.mu.Unlock()
		time.Sleep(time.Minute)
		w.crash(1)
		ticket := c.Suspect("1", errGone)
		time.Sleep(100 * time.Millisecond)
		w.failover(3, "+")
		began := time.Now()
		in, _ := pick(t, c, WantWriter, ticket, time.Minute)
		if d := time.Since(began); d > 20*time.Millisecond || len(in.Addrs) == 0 {
			t.Fatalf("%+v after %v", in, d)
		}
	})
}

func TestMembersWhoseNamesDoNotResolveDoNotHideTheSeed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(2)
		w.dns.hosts = map[string]string{clusterHost: "10.0.0.1"}
		c := w.watch(t, nil)
		in, _ := pick(t, c, WantWriter, 0, time.Second)
		if len(in.Addrs) != 1 || in.Addrs[0].String() != "10.0.0.1" {
			t.Fatalf("writer %+v", in)
		}
		time.Sleep(time.Minute)
		w.crash(1)
		w.dns.mu.Lock()
		w.dns.hosts[clusterHost] = "10.0.0.2"
		w.dns.mu.Unlock()
		ticket := c.Suspect("1", errGone)
		w.failover(2, "+")
		in, _ = pick(t, c, WantWriter, ticket, 30*time.Second)
		if in.ID != "2" || len(in.Addrs) != 1 || in.Addrs[0].String() != "10.0.0.2" {
			t.Fatalf("writer %+v", in)
		}
	})
}

func TestMembersComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		for _, s := range w.servers {
			s.Members = membersOf(2, 1)
		}
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Second)
		if n := len(c.Snapshot().Instances); n != 2 {
			t.Fatalf("%d instances", n)
		}
		for _, n := range []int{3, 1, 3} {
			w.mu.Lock()
			for _, s := range w.servers {
				s.Members = membersOf(n, 1)
			}
			w.mu.Unlock()
			time.Sleep(40 * time.Second)
			s := c.Snapshot()
			if len(s.Instances) != n || len(s.Readers()) != n-1 || s.Epoch != 1 {
				t.Fatalf("with %d members: %+v", n, s.Instances)
			}
		}
	})
}

func TestASingleNameIsFollowedWhereItMoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := &named{world: plain(2), dns: &names{hosts: map[string]string{"db.example.com": "10.0.0.1"}}}
		c := w.watch(t, func(cfg *Config) { cfg.Seeds = []Endpoint{{Host: "db.example.com", Port: 5432}} })
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		w.freeze(1)
		defer w.thaw(1)
		ticket := c.Suspect("db.example.com:5432", errGone)
		time.Sleep(20 * time.Second)
		w.promote(2, 2)
		w.dns.mu.Lock()
		w.dns.hosts["db.example.com"] = "10.0.0.2"
		w.dns.mu.Unlock()
		in, s := pick(t, c, WantWriter, ticket, 10*time.Second)
		if s.Epoch != 2 || in.Addrs[0].String() != "10.0.0.2" || in.Boot != "boot-2" {
			t.Fatalf("%+v in epoch %d", in, s.Epoch)
		}
	})
}

func TestTheWritersWordDoesNotClearASuspectedReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		pick(t, c, WantReader, 0, time.Second)
		time.Sleep(10 * time.Second)
		w.freeze(2)
		defer w.thaw(2)
		ticket := c.Suspect("2", errGone)
		for range 20 {
			if in, _ := pick(t, c, WantReader, ticket, time.Second); in.ID != "3" {
				t.Fatalf("picked %v", in.ID)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestTheWritersWordDoesNotReviveAReaderThatDoesNotAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		w.crash(2)
		pick(t, c, WantReader, c.Now(), time.Second) // asks all
		time.Sleep(time.Minute)
		if in, _ := c.Snapshot().Find("2"); in.Role != Unknown {
			t.Fatalf("%+v", in)
		}
	})
}

func TestAMemberThatIsLongSilentIsNoReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := auroraNamed(3)
		for _, s := range w.servers {
			s.Members[2].LastUpdate = 2 * time.Minute
		}
		c := w.watch(t, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Second)
		if in, _ := c.Snapshot().Find("3"); in.Role != Unknown {
			t.Fatalf("%+v", in)
		}
	})
}
