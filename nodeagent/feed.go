package nodeagent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/nodeagent/pod"
	"wherry/nodeagent/services"
	"wherry/nodeagent/uplink"
	"wherry/proto/nodelink"
)

// feed takes what the control plane says into the journal and to the parts. It is an uplink.Journal.
type feed struct{ a *Agent }

func (f feed) Have() ([]*nodelink.Have, error) { return f.a.journal.Have(), nil }

func (f feed) Apply(_ context.Context, step *nodelink.Feed) error {
	if len(step.GetChange()) > 0 {
		if err := f.a.journal.Apply(step.GetChange()); err != nil {
			return err
		}
		f.a.apply(step.GetChange())
	}
	if step.GetSynced() {
		f.a.world.dropTokens()
	}
	return nil
}

// apply hands changes to those whom they concern.
func (a *Agent) apply(changes []*nodelink.Change) {
	n, errs := a.world.apply(changes)
	for _, err := range errs {
		a.log.Error("the control plane sent an object that this agent cannot read", "err", err)
	}
	if n.node {
		a.setRange()
	}
	for namespace := range n.namespaces {
		a.workers.ObjectsChanged(namespace)
	}
	for _, p := range n.pods {
		a.workers.Update(a.remembered(p))
	}
	for _, uid := range n.gone {
		a.workers.Remove(uid)
		a.journal.Forget(uid)
	}
	if n.routes || slices.ContainsFunc(n.pods, hasHostPort) || len(n.gone) > 0 {
		a.reroute()
	}
}

// remembered is the pod with the newest status that this node knows: what the control plane has may be older.
func (a *Agent) remembered(p *corev1.Pod) *corev1.Pod {
	s := a.journal.Status(string(p.UID))
	if s == nil {
		return p
	}
	var status corev1.PodStatus
	if err := status.Unmarshal(s.GetStatus()); err != nil {
		a.log.Error("the journal holds a status that this agent cannot read", "uid", p.UID, "err", err)
		return p
	}
	q := *p
	// What others have set is newer in the object.
	status.Conditions = merge(p.Status.Conditions, status.Conditions)
	q.Status = status
	return &q
}

// merge adds to the conditions of the object those that only the journal knows, and takes the journal's for the
// node's own.
func merge(object, own []corev1.PodCondition) []corev1.PodCondition {
	all := slices.Clone(object)
	for _, c := range own {
		i := slices.IndexFunc(all, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		switch {
		case i < 0 && pod.OwnsCondition(c.Type):
			all = append(all, c)
		case i >= 0 && pod.OwnsCondition(c.Type):
			all[i] = c
		}
	}
	return all
}

// restore begins with what the journal holds, before anything runs.
func (a *Agent) restore() {
	a.apply(a.journal.Objects())
	for _, s := range a.journal.Statuses() {
		if !a.world.has(s.GetUid()) {
			a.journal.Forget(s.GetUid())
			continue
		}
		a.resend(s)
	}
}

// resend tells a status again that the control plane may not have.
func (a *Agent) resend(s *nodelink.PodStatus) {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = s.GetNamespace(), s.GetName(), types.UID(s.GetUid())
	var status corev1.PodStatus
	if err := status.Unmarshal(s.GetStatus()); err != nil {
		a.log.Error("the journal holds a status that this agent cannot read", "uid", s.GetUid(), "err", err)
		return
	}
	a.uplink.Status(p, &status, s.GetGone())
}

// reports keeps statuses in the journal and sends them on. It is a pod.Reports.
type reports struct{ a *Agent }

func (r reports) Status(p *corev1.Pod, s *corev1.PodStatus, gone bool) {
	data, err := s.Marshal()
	if err != nil {
		r.a.log.Error("encode a pod's status", "uid", p.UID, "err", err) // a mistake of the program
		return
	}
	r.a.journal.Note(&nodelink.PodStatus{Namespace: p.Namespace, Name: p.Name, Uid: string(p.UID), Status: data, Gone: gone})
	r.a.uplink.Status(p, s, gone)
	if hasHostPort(p) {
		r.a.reroute()
	}
}

func (r reports) Event(e *corev1.Event) { r.a.uplink.Event(e) }

// portFailed tells about a port of a Service, or a host port of a pod, that this machine cannot open.
func (a *Agent) portFailed(f services.HostFrontend, r *services.Route, err error) {
	kind, uid := a.world.owner(r.Namespace, r.Service)
	now := metav1.Now()
	a.uplink.Event(&corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: r.Namespace, Name: fmt.Sprintf("%s.%x", r.Service, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: kind, Namespace: r.Namespace, Name: r.Service, UID: uid},
		Type:           corev1.EventTypeWarning, Reason: "FailedPort", Message: fmt.Sprintf("node %s: %v", a.c.NodeName, err),
		Source:         corev1.EventSource{Component: pod.Component, Host: a.c.NodeName},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: pod.Component, ReportingInstance: a.c.NodeName,
	})
}

// welcomed keeps what the control plane says of the cluster's networks.
func (a *Agent) welcomed(w *nodelink.Welcome) {
	if err := a.journal.SetWelcome(w); err != nil {
		a.log.Error("cannot keep what the control plane says of the cluster", "err", err)
		return
	}
	a.setRange()
	a.reroute()
	a.startDNS()
	if a.c.Welcomed != nil {
		a.c.Welcomed()
	}
}

// isPod says that ip belongs to the pods of the cluster.
func (a *Agent) isPod(ip netip.Addr) bool {
	block, err := netip.ParsePrefix(a.journal.Welcome().GetClusterPodCidr())
	return err == nil && block.Contains(ip)
}

// setRange tells podnet the blocks of addresses, once they are known.
func (a *Agent) setRange() {
	w := a.journal.Welcome()
	cidr := a.world.podCIDR()
	if cidr == "" {
		cidr = w.GetPodCidr()
	}
	own, err := netip.ParsePrefix(cidr)
	if err != nil {
		return // the control plane has not given the node a block yet
	}
	var blocks []netip.Prefix
	for _, text := range []string{w.GetClusterPodCidr(), w.GetServiceCidr()} {
		if block, err := netip.ParsePrefix(text); err == nil {
			blocks = append(blocks, block)
		}
	}
	a.net.SetRange(own, blocks...)
}

// reroute has routes computed anew, soon.
func (a *Agent) reroute() {
	select {
	case a.rerouting <- struct{}{}:
	default: // there is a token
	}
}

// routes hands each new table to everybody who reads it.
func (a *Agent) routes(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.rerouting:
		}
		status := func(uid string) *corev1.PodStatus {
			_, s := a.workers.Pod(uid)
			return s
		}
		t := services.Build(a.world.input(a.c.NodeName, a.domain(), status))
		a.net.SetTable(t)
		a.names.SetTable(t)
		a.proxy.Set(t)
	}
}

func (a *Agent) domain() string {
	if d := a.journal.Welcome().GetClusterDomain(); d != "" {
		return d
	}
	return "cluster.local"
}

var (
	_ uplink.Journal = feed{}
	_ pod.Reports    = reports{}
	_ pod.Objects    = (*world)(nil)
	_ pod.Volumes    = volumes{}
	_ pod.Network    = network{}
)
