package names

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// records is what the names stand for. The zero value knows no name.
type records struct {
	mu     sync.Mutex
	known  map[string]*record // by canonical name
	closed bool
}

type record struct {
	addrs   []netip.Addr
	asked   int         // answers given, which turns addrs round
	pending *time.Timer // the change to come; nil: none
}

// Set makes name stand for addrs at once. Of several addresses each answer holds one, the next one each time, as the
// reader endpoint of an RDS cluster does. Without addresses the name does not exist.
func (s *Server) Set(name string, addrs ...netip.Addr) {
	s.records.set(0, name, addrs)
}

// SetAfter makes name stand for addrs once d has passed; until then its old answer stays, as stale records do after a
// failover. A later Set or SetAfter of the same name takes this one's place, though it has not come yet.
func (s *Server) SetAfter(d time.Duration, name string, addrs ...netip.Addr) {
	s.records.set(d, name, addrs)
}

func (r *records) set(after time.Duration, name string, addrs []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	name, addrs = dns.CanonicalName(name), slices.Clone(addrs)
	rec := r.known[name]
	if rec == nil {
		rec = new(record)
		if r.known == nil {
			r.known = make(map[string]*record)
		}
		r.known[name] = rec
	}
	if rec.pending != nil {
		rec.pending.Stop()
		rec.pending = nil
	}
	if after <= 0 {
		rec.addrs = addrs
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		// Stop comes too late for a timer that is waiting for the lock here.
		if rec.pending != timer {
			return
		}
		rec.pending, rec.addrs = nil, addrs
	})
	rec.pending = timer
}

// next gives the address that the next answer for name holds. known says whether the name exists at all.
func (r *records) next(name string) (addr netip.Addr, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.known[dns.CanonicalName(name)]
	if rec == nil || len(rec.addrs) == 0 {
		return netip.Addr{}, false
	}
	addr = rec.addrs[rec.asked%len(rec.addrs)]
	rec.asked++
	return addr, true
}

// exists is next without turning the addresses round.
func (r *records) exists(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.known[dns.CanonicalName(name)]
	return rec != nil && len(rec.addrs) > 0
}

func (r *records) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, rec := range r.known {
		if rec.pending != nil {
			rec.pending.Stop()
			rec.pending = nil
		}
	}
}
