package names_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/rdstest/internal/names"
)

const writer = "shop.cluster-c1.eu-central-1.rds.amazonaws.com"

var (
	a = netip.MustParseAddr("127.3.1.1")
	b = netip.MustParseAddr("127.3.1.2")
	c = netip.MustParseAddr("127.3.1.3")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *names.Server {
	t.Helper()
	s, err := names.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// lookup is what Go's own resolver makes of the answer. No address: the name does not exist.
func lookup(t *testing.T, s *names.Server, name string) netip.Addr {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	addrs, err := s.Resolver().LookupNetIP(ctx, "ip", name)
	if dnsErr, ok := errors.AsType[*net.DNSError](err); ok && dnsErr.IsNotFound {
		return netip.Addr{}
	}
	if err != nil || len(addrs) != 1 {
		t.Fatalf("look up %s: %v, %v", name, addrs, err)
	}
	return addrs[0].Unmap()
}

func expect(t *testing.T, s *names.Server, name string, want netip.Addr) {
	t.Helper()
	if got := lookup(t, s, name); got != want {
		t.Fatalf("%s is %v, want %v", name, got, want)
	}
}

// ask sends one query of any kind.
func ask(t *testing.T, s *names.Server, network, name string, kind uint16) *dns.Msg {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: 10 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestNamesChangeAtOnce(t *testing.T) {
	s := start(t)
	expect(t, s, writer, netip.Addr{})
	s.Set(writer, a)
	expect(t, s, writer, a)
	s.Set(writer, b)
	expect(t, s, writer, b)
	s.Set(writer)
	expect(t, s, writer, netip.Addr{})
}

func TestNamesHaveNoCase(t *testing.T) {
	s := start(t)
	s.Set("Shop.Example", a)
	expect(t, s, "sHOP.eXAMPLE", a)
	s.Set("SHOP.EXAMPLE.", b)
	expect(t, s, "shop.example", b)
}

func TestEachAnswerHoldsTheNextAddress(t *testing.T) {
	s := start(t)
	s.Set("reader.example", a, b, c)
	for _, want := range []netip.Addr{a, b, c, a, b} {
		reply := ask(t, s, "udp", "reader.example", dns.TypeA)
		if len(reply.Answer) != 1 {
			t.Fatalf("%d records in an answer, want 1", len(reply.Answer))
		}
		record := reply.Answer[0].(*dns.A)
		if got, _ := netip.AddrFromSlice(record.A.To4()); got != want || record.Hdr.Ttl != 5 {
			t.Fatalf("%v with TTL %d, want %v with 5", got, record.Hdr.Ttl, want)
		}
		// A resolver asks for both kinds, and only one of the two questions turns the addresses round.
		ask(t, s, "udp", "reader.example", dns.TypeAAAA)
	}
}

func TestAnswersOverUDPAndTCP(t *testing.T) {
	s := start(t)
	s.Set(writer, a)
	for _, network := range []string{"udp", "tcp"} {
		for _, want := range []struct {
			name    string
			kind    uint16
			rcode   int
			answers int
		}{
			{writer, dns.TypeA, dns.RcodeSuccess, 1},
			{writer, dns.TypeAAAA, dns.RcodeSuccess, 0},
			{writer, dns.TypeTXT, dns.RcodeSuccess, 0},
			{"nobody.example", dns.TypeA, dns.RcodeNameError, 0},
			{"nobody.example", dns.TypeAAAA, dns.RcodeNameError, 0},
		} {
			reply := ask(t, s, network, want.name, want.kind)
			if reply.Rcode != want.rcode || len(reply.Answer) != want.answers {
				t.Errorf("%s %s %s: %s with %d answers", network, want.name, dns.TypeToString[want.kind],
					dns.RcodeToString[reply.Rcode], len(reply.Answer))
			}
		}
	}
}

func TestOldAnswerStaysForAWhile(t *testing.T) {
	s := start(t)
	s.Set(writer, a)
	s.SetAfter(time.Hour, writer, b)
	expect(t, s, writer, a)
	s.SetAfter(time.Millisecond, writer, c)
	for end := time.Now().Add(10 * time.Second); lookup(t, s, writer) != c; {
		if time.Now().After(end) {
			t.Fatal("the new answer did not come")
		}
	}
}

func TestManyAskWhileNamesChange(t *testing.T) {
	s := start(t)
	s.Set(writer, a)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := s.Resolver().LookupNetIP(t.Context(), "ip4", writer); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		s.Set(writer, a, b)
		s.SetAfter(time.Microsecond, writer, c)
	}
	wg.Wait()
}

func TestCloseStopsAnsweringAndPendingChanges(t *testing.T) {
	s, err := names.Start()
	if err != nil {
		t.Fatal(err)
	}
	s.SetAfter(time.Hour, writer, a)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s.Set(writer, a)
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("the port is still open")
	}
}
