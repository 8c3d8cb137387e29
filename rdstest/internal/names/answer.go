package names

import (
	"net"

	"github.com/miekg/dns"
)

// ttl is what RDS gives its endpoints, in seconds.
const ttl = 5

// ServeDNS answers one query; it is exported for the DNS library alone.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	// A client that has gone away is its own affair, so the error is dropped.
	_ = w.WriteMsg(s.answer(query))
}

func (s *Server) answer(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg)
	if len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery {
		return reply.SetRcode(query, dns.RcodeRefused)
	}
	reply.SetReply(query)
	reply.Authoritative = true
	question := query.Question[0]
	wantsA := question.Qclass == dns.ClassINET && (question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY)
	if !wantsA {
		if !s.records.exists(question.Name) {
			reply.Rcode = dns.RcodeNameError
		}
		return reply
	}
	addr, known := s.records.next(question.Name)
	if !known {
		reply.Rcode = dns.RcodeNameError
		return reply
	}
	if addr = addr.Unmap(); addr.Is4() {
		reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl},
			A:   net.IP(addr.AsSlice()),
		}}
	}
	return reply
}
