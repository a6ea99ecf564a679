package nodeagent

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/pod"
	"wherry/nodeagent/podnet"
	"wherry/nodeagent/runtime"
	"wherry/nodeagent/volume"
	"wherry/wasm/wasip1"
)

// volumes is package volume as a pod.Volumes.
type volumes struct{ *volume.Volumes }

func (v volumes) Prepare(ctx context.Context, p *corev1.Pod, o pod.Objects) (map[string]string, error) {
	return v.Volumes.Prepare(ctx, p, o)
}

func (v volumes) Update(ctx context.Context, p *corev1.Pod, o pod.Objects) error {
	return v.Volumes.Update(ctx, p, o)
}

// network is package podnet as a pod.Network.
type network struct {
	*podnet.Net
	host podnet.Host
	node netip.Addr
}

// Attach gives a pod of the host network the node's address.
func (n network) Attach(_ context.Context, a pod.Attachment) (string, error) {
	wish, err := netip.ParseAddr(a.Address)
	if err != nil {
		wish = netip.Addr{} // it had none
	}
	p, err := n.Net.Attach(podnet.Place{UID: a.PodUID, Namespace: a.Namespace, HostNetwork: a.HostNetwork, Wish: wish})
	if err != nil {
		return "", err
	}
	if a.HostNetwork {
		return n.node.String(), nil
	}
	return p.IP().String(), nil
}

// Dial reaches pods by their address, and by name what the machine reaches.
func (n network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return n.host.Dial(ctx, network, address)
	}
	return n.Net.Dial(ctx, network, target)
}

// dialPod connects to a port of a pod from inside.
func (n network) dialPod(ctx context.Context, uid string, port uint16) (net.Conn, error) {
	p, ok := n.Net.Pod(uid)
	if !ok {
		return nil, fmt.Errorf("pod %s has no address", uid)
	}
	return p.DialLocal(ctx, "tcp", port)
}

// guest is what the sockets of a Wasm container use: those of its pod.
func (n network) guest(s runtime.Spec) (wasip1.Network, error) {
	p, ok := n.Net.Pod(s.ID.Pod)
	if !ok {
		return nil, fmt.Errorf("pod %s has no address", s.ID.Pod)
	}
	return p, nil
}

// machineNetwork is the operating system's.
type machineNetwork struct{}

func (machineNetwork) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (machineNetwork) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, network, address)
}

func (machineNetwork) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, network, address)
}

// outbound is the address that this machine uses towards others. No packet is sent.
func outbound() netip.Addr {
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}) // no network now
	}
	defer c.Close()
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return a.Addr().Unmap()
}
