package podnet

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
)

// freeAddress picks an address of the node's block that no pod has; mu is held. The search
// begins at a place that the uid decides, so that a pod that comes back after a restart of
// the agent finds the address it had.
func (n *Net) freeAddress(place Place) (netip.Addr, error) {
	if !n.own.IsValid() {
		return netip.Addr{}, ErrNoRange
	}
	if !n.own.Addr().Is4() {
		return netip.Addr{}, fmt.Errorf("podnet: the pod CIDR %s is not IPv4", n.own)
	}
	if w := place.Wish; w.IsValid() && n.own.Contains(w) && n.byIP[w] == nil {
		return w, nil
	}
	// The block's first two addresses (network, and by custom the gateway) and its last stay free.
	usable := uint32(1)<<(32-n.own.Bits()) - 3
	first := n.own.Addr().As4()
	base := binary.BigEndian.Uint32(first[:]) + 2
	h := fnv.New32a()
	h.Write([]byte(place.UID)) // never fails
	start := h.Sum32() % usable
	for i := range usable {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], base+(start+i)%usable)
		if ip := netip.AddrFrom4(b); n.byIP[ip] == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("podnet: all %d addresses of %s are taken", usable, n.own)
}
