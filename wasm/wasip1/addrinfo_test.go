package wasip1

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// answers puts a list for sock_getaddrinfo and returns the pointer to its pointer, and its records.
func (c *caller) answers(n int) (uint64, []uint64) {
	var records []uint64
	next := uint64(0)
	for range n {
		data := c.alloc(26)
		sockaddr := c.put(u32s(0, 26, uint32(data)))
		next = c.put(u32s(0, 0, 0, uint32(sockaddr), 0, 0, uint32(next)))
		records = append(records, next)
	}
	slices.Reverse(records)
	return c.put(u32s(uint32(next))), records
}

func (c *caller) answer(record uint64) netip.AddrPort {
	sockaddr := uint64(c.u32(record + 12))
	data := uint64(c.u32(sockaddr + 8))
	b := c.bytes(data, int(c.u32(sockaddr+4)))
	a, _ := netip.AddrFromSlice(b[2:])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b))
}

func TestGetaddrinfo(t *testing.T) {
	c := newCaller(t, Config{Network: newMemNetwork()})
	hints := func(flags, family, kind byte) []byte {
		h := make([]byte, addrinfoSize)
		h[0], h[2], h[3] = flags, family, kind
		return h
	}
	tests := []struct {
		node, service string
		hints         []byte
		max           int
		e             errno
		want          string
	}{
		{"web\x00", "80\x00", hints(0, 0, socketStream), 8, success, "10.43.0.80:80 [fd00::80]:80"},
		{"web", "https", hints(0, familyInet, 0), 8, success, "10.43.0.80:443"},
		{"web", "", hints(0, familyInet6, 0), 8, success, "[fd00::80]:0"},
		{"web", "80", nil, 1, success, "10.43.0.80:80"},
		{"web", "80", nil, 0, success, ""},
		{"1.2.3.4", "5", hints(aiNumericHost, 0, 0), 8, success, "1.2.3.4:5"},
		{"::1", "5", nil, 8, success, "[::1]:5"},
		{"", "5", hints(aiPassive, familyInet, 0), 8, success, "0.0.0.0:5"},
		{"", "5", hints(0, familyInet6, 0), 8, success, "[::1]:5"},
		{"1.2.3.4", "5", hints(0, familyInet6, 0), 8, aiNoName, ""},
		{"web", "80", hints(aiNumericHost, 0, 0), 8, aiNoName, ""},
		{"nowhere", "80", nil, 8, aiNoName, ""},
		{"busy", "80", nil, 8, aiAgain, ""},
		{"web", "no-such-service", nil, 8, aiService, ""},
		{"web", "80", hints(0, 9, 0), 8, aiFamily, ""},
		{"web", "80", hints(0, 0, 9), 8, aiSockType, ""},
		{strings.Repeat("x", 300), "80", nil, 8, aiNoName, ""},
	}
	for _, test := range tests {
		c.free()
		node, nodeLen := c.str(test.node)
		service, serviceLen := c.str(test.service)
		hintsAt := uint64(0)
		if test.hints != nil {
			hintsAt = c.put(test.hints)
		}
		list, records := c.answers(test.max)
		count := c.put(u32s(0))
		e := c.call("sock_getaddrinfo", node, nodeLen, service, serviceLen, hintsAt, list, uint64(test.max), count)
		var got []string
		for _, r := range records[:c.u32(count)] {
			got = append(got, c.answer(r).String())
		}
		if e != test.e || strings.Join(got, " ") != test.want {
			t.Errorf("%.20q %q: errno %d, %v; want %d, %s", test.node, test.service, e, got, test.e, test.want)
		}
	}

	// The Go library links its list to itself.
	list, records := c.answers(2)
	c.mod.Memory().WriteUint32Le(uint32(records[0])+24, uint32(records[0]))
	node, n := c.str("web")
	count := c.alloc(4)
	c.must("sock_getaddrinfo", node, n, 0, 0, 0, list, 2, count)
	if c.u32(count) != 1 {
		t.Errorf("%d answers", c.u32(count))
	}
}
