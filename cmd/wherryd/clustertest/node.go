package clustertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent"
	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/fake"
	"wherry/proto/link"
)

// Node is a machine with an agent.
type Node struct {
	Name string
	IP   string
	// Machine is where the containers of the fake runtime are. It outlives the agent.
	Machine *fake.Machine

	cluster *Cluster
	dir     string
	wasm    bool
	agent   *process // nil while it is down
	dials   int
}

// Node adds a machine with the fake runtime, starts its agent, and returns when the node is ready.
func (c *Cluster) Node(name string) *Node {
	c.t.Helper()
	return c.join(name, false)
}

// WasmNode adds a machine with the real Wasm runtime.
func (c *Cluster) WasmNode(name string) *Node {
	c.t.Helper()
	return c.join(name, true)
}

func (c *Cluster) join(name string, wasm bool) *Node {
	c.t.Helper()
	n := &Node{
		Name: name, IP: fmt.Sprintf(nodesIP, firstNode+len(c.nodes)), Machine: &fake.Machine{},
		cluster: c, dir: c.t.TempDir(), wasm: wasm,
	}
	c.nodes = append(c.nodes, n)
	token, err := c.plane.JoinToken(context.Background(), name)
	c.check(err)
	n.start(token.String())
	c.Await("node "+name+" is ready", time.Minute, func() bool { return c.Ready(name) == corev1.ConditionTrue })
	return n
}

// Ready is the node's condition; "" if there is no such node.
func (c *Cluster) Ready(name string) corev1.ConditionStatus {
	node, err := c.Client.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status
		}
	}
	return ""
}

// Start starts the agent again, on what it has kept.
func (n *Node) Start() {
	n.cluster.t.Helper()
	n.start("")
}

func (n *Node) start(token string) {
	n.cluster.t.Helper()
	config := n.config(token)
	if !n.wasm {
		config.Runtimes = []runtime.Runtime{n.Machine.Driver()}
	}
	agent, err := nodeagent.New(config)
	n.cluster.check(err)
	n.agent = start(agent.Run)
}

// config is a machine of four cores that nothing else runs on.
func (n *Node) config(token string) nodeagent.Config {
	return nodeagent.Config{
		NodeName: n.Name, DataDir: n.dir, Version: "test", Token: token, Dial: n.dial,
		Images:   n.cluster.images,
		Address:  netip.MustParseAddr(n.IP),
		Host:     n.cluster.machine(n.IP),
		Upstream: noNames{},
		LowDisk:  -1, // stories are not about this machine's disk
		Capacity: corev1.ResourceList{corev1.ResourceCPU: quantity.MustParse("4"), corev1.ResourceMemory: quantity.MustParse("8Gi")},
		Log:      n.cluster.log.With("agent", n.Name),
	}
}

// dial opens a session from a port of its own: the one before may still be closing.
func (n *Node) dial(ctx context.Context, tc *tls.Config) (link.Session, error) {
	const first = 20000
	n.dials++
	from := net.JoinHostPort(n.IP, strconv.Itoa(first+n.dials))
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(net.JoinHostPort(serverIP, port)))
	return link.DialQUIC(ctx, n.cluster.Net.ConnAt(from), to, tc, link.Options{})
}

// Dir is the agent's data directory.
func (n *Node) Dir() string { return n.dir }

// Stop stops the agent, if it runs. Containers of the fake runtime go on.
func (n *Node) Stop() {
	n.cluster.t.Helper()
	if n.agent == nil {
		return
	}
	if err := n.agent.stop(); err != nil {
		n.cluster.t.Errorf("the agent of %s: %v", n.Name, err)
	}
	n.agent = nil
}

// Cut pulls the node's cable, or plugs it in again.
func (n *Node) Cut(cut bool) { n.cluster.Net.Cut(n.IP, cut) }
