package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	clusterTTL  = 5  // seconds, as CoreDNS answers for a cluster
	outsideTTL  = 30 // seconds; the machine's resolver does not say
	maxQueries  = 256
	patience    = 5 * time.Second
	maxUDPReply = 1232 // bytes, unless the client offers another size (DNS flag day 2020)
)

// Serve answers DNS on a packet socket and a listener until ctx ends, and closes both.
func (r *Resolver) Serve(ctx context.Context, packets net.PacketConn, streams net.Listener) error {
	s := &server{resolver: r, ctx: ctx, slots: make(chan struct{}, maxQueries)}
	udp := &dns.Server{PacketConn: packets, Handler: s}
	tcp := &dns.Server{Listener: streams, Handler: s}
	group, stopped := errgroup.WithContext(ctx)
	for _, one := range []*dns.Server{udp, tcp} {
		started := make(chan struct{})
		one.NotifyStartedFunc = func() { close(started) }
		group.Go(one.ActivateAndServe)
		group.Go(func() error {
			select { // a shutdown before the start is an error and leaves the server running
			case <-started:
			case <-stopped.Done():
				return errors.Join(packets.Close(), streams.Close())
			}
			<-stopped.Done()
			return one.Shutdown()
		})
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

type server struct {
	resolver *Resolver
	ctx      context.Context
	slots    chan struct{}
}

// ServeDNS implements dns.Handler. Beyond maxQueries at once, queries are dropped, as a
// busy server does: the client asks again.
func (s *server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	reply := s.answer(ctx, query)
	if w.LocalAddr().Network() == "udp" {
		size := maxUDPReply
		if o := query.IsEdns0(); o != nil {
			size = max(dns.MinMsgSize, int(o.UDPSize()))
		}
		reply.Truncate(size)
	}
	w.WriteMsg(reply) // the client has gone: nobody to tell
}

func (s *server) answer(ctx context.Context, query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg)
	if len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery {
		return reply.SetRcode(query, dns.RcodeNotImplemented)
	}
	reply.SetReply(query)
	reply.RecursionAvailable = true
	q := query.Question[0]
	if q.Qclass != dns.ClassINET {
		return reply.SetRcode(query, dns.RcodeNotImplemented)
	}
	name := strings.TrimSuffix(q.Name, ".")
	if s.resolver.isCluster(name) {
		s.answerCluster(ctx, reply, q, name)
	} else {
		s.answerOutside(ctx, reply, q, name)
	}
	return reply
}

func (s *server) answerCluster(ctx context.Context, reply *dns.Msg, q dns.Question, name string) {
	reply.Authoritative = true
	n, ok := s.resolver.table.Load().Lookup(name)
	if !ok {
		reply.Rcode = dns.RcodeNameError
		return
	}
	header := dns.RR_Header{Name: q.Name, Class: dns.ClassINET, Ttl: clusterTTL}
	addrs := n.Addrs
	if n.CNAME != "" {
		header.Rrtype = dns.TypeCNAME
		target := dns.Fqdn(n.CNAME)
		reply.Answer = append(reply.Answer, &dns.CNAME{Hdr: header, Target: target})
		header.Name = target
		var err error
		if addrs, _, err = s.resolver.cluster(ctx, name, 0); err != nil {
			reply.Rcode = rcode(err)
			return
		}
	}
	reply.Answer = append(reply.Answer, addressRecords(header, q.Qtype, addrs)...)
	if q.Qtype == dns.TypeSRV {
		header.Rrtype = dns.TypeSRV
		for _, srv := range n.SRV {
			reply.Answer = append(reply.Answer, &dns.SRV{Hdr: header, Weight: 1, Port: srv.Port, Target: dns.Fqdn(srv.Target)})
		}
	}
}

func (s *server) answerOutside(ctx context.Context, reply *dns.Msg, q dns.Question, name string) {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: outsideTTL}
	var err error
	switch q.Qtype {
	case dns.TypeA, dns.TypeAAAA:
		var addrs []netip.Addr
		addrs, err = s.resolver.outside(ctx, dns.Fqdn(name))
		reply.Answer = addressRecords(header, q.Qtype, addrs)
	case dns.TypeTXT:
		reply.Answer, err = s.text(ctx, header, name)
	case dns.TypeMX:
		reply.Answer, err = s.mail(ctx, header, name)
	case dns.TypeSRV:
		reply.Answer, err = s.service(ctx, header, name)
	case dns.TypePTR:
		reply.Answer, err = s.pointer(ctx, header, name)
	default:
		reply.Rcode = dns.RcodeNotImplemented
	}
	if err != nil {
		reply.Rcode = rcode(err)
	}
}

func (s *server) text(ctx context.Context, h dns.RR_Header, name string) ([]dns.RR, error) {
	found, err := s.resolver.upstream.LookupTXT(ctx, name)
	var rrs []dns.RR
	for _, t := range found {
		rrs = append(rrs, &dns.TXT{Hdr: h, Txt: chunks(t)})
	}
	return rrs, err
}

// chunks cuts a text into strings of at most 255 bytes (RFC 1035, 3.3).
func chunks(t string) []string {
	var all []string
	for len(t) > 255 {
		all, t = append(all, t[:255]), t[255:]
	}
	return append(all, t)
}

func (s *server) mail(ctx context.Context, h dns.RR_Header, name string) ([]dns.RR, error) {
	found, err := s.resolver.upstream.LookupMX(ctx, name)
	var rrs []dns.RR
	for _, mx := range found {
		rrs = append(rrs, &dns.MX{Hdr: h, Preference: mx.Pref, Mx: dns.Fqdn(mx.Host)})
	}
	return rrs, err
}

func (s *server) service(ctx context.Context, h dns.RR_Header, name string) ([]dns.RR, error) {
	_, found, err := s.resolver.upstream.LookupSRV(ctx, "", "", name)
	var rrs []dns.RR
	for _, srv := range found {
		rrs = append(rrs, &dns.SRV{Hdr: h, Priority: srv.Priority, Weight: srv.Weight, Port: srv.Port, Target: dns.Fqdn(srv.Target)})
	}
	return rrs, err
}

func (s *server) pointer(ctx context.Context, h dns.RR_Header, name string) ([]dns.RR, error) {
	ip, ok := reverse(name)
	if !ok {
		return nil, notFound(name)
	}
	found, err := s.resolver.upstream.LookupAddr(ctx, ip.String())
	var rrs []dns.RR
	for _, host := range found {
		rrs = append(rrs, &dns.PTR{Hdr: h, Ptr: dns.Fqdn(host)})
	}
	return rrs, err
}

// reverse reads the IPv4 address of a name under in-addr.arpa.
func reverse(name string) (netip.Addr, bool) {
	quad, ok := strings.CutSuffix(strings.ToLower(name), ".in-addr.arpa")
	parts := strings.Split(quad, ".")
	if !ok || len(parts) != 4 {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return ip, err == nil
}

func addressRecords(h dns.RR_Header, qtype uint16, addrs []netip.Addr) []dns.RR {
	var rrs []dns.RR
	for _, a := range addrs {
		h.Rrtype = dns.TypeA
		switch {
		case a.Is4() && qtype == dns.TypeA:
			rrs = append(rrs, &dns.A{Hdr: h, A: a.AsSlice()})
		case a.Is6() && qtype == dns.TypeAAAA:
			h.Rrtype = dns.TypeAAAA
			rrs = append(rrs, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	return rrs
}

func rcode(err error) int {
	var d *net.DNSError
	if errors.As(err, &d) && d.IsNotFound {
		return dns.RcodeNameError
	}
	return dns.RcodeServerFailure
}
