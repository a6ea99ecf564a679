package downlink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// register makes the node's object what its agent says that the machine is, as far as that
// is the agent's to say, and returns it.
func (s *session) register(ctx context.Context, encoded []byte) (*corev1.Node, error) {
	said := &corev1.Node{}
	if err := said.Unmarshal(encoded); err != nil {
		return nil, ignore("decode the node: %w", err)
	}
	s.dropLabels(said)
	_, err := state.Create(ctx, s.State, s.newNode(said))
	if apierrors.IsAlreadyExists(err) {
		_, err = s.updateNode(ctx, said)
	}
	if err != nil {
		return nil, fmt.Errorf("register the node: %w", err)
	}
	node, err := state.UpdateStatus(ctx, s.State, "", s.node, func(live *corev1.Node) error {
		live.Status = mergeNodeStatus(live.Status, *said.Status.DeepCopy())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("write the node's status: %w", err)
	}
	return node, nil
}

// newNode is a node at its first registration. Only then may the agent set taints.
func (s *session) newNode(said *corev1.Node) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        s.node,
			Labels:      maps.Clone(said.Labels),
			Annotations: map[string]string{},
		},
		Spec: corev1.NodeSpec{Taints: said.Spec.Taints},
	}
	if key := s.link.Peer().Key; key != "" {
		node.Annotations[KeyAnnotation] = key
	}
	return node
}

// updateNode brings labels and key up to date; what others have set stays.
func (s *session) updateNode(ctx context.Context, said *corev1.Node) (*corev1.Node, error) {
	key := s.link.Peer().Key
	return state.Update(ctx, s.State, "", s.node, func(live *corev1.Node) error {
		if owner := live.Annotations[KeyAnnotation]; owner == "" && key != "" {
			metav1.SetMetaDataAnnotation(&live.ObjectMeta, KeyAnnotation, key)
		} else if owner != key {
			return s.nameIsFree(s.node, key)
		}
		for k, v := range said.Labels {
			metav1.SetMetaDataLabel(&live.ObjectMeta, k, v)
		}
		return nil
	})
}

// dropLabels takes away the labels that an agent may not set on its own node, by the rules
// of Kubernetes' NodeRestriction.
func (s *session) dropLabels(n *corev1.Node) {
	for label := range n.Labels {
		if !allowedLabel(label) {
			s.log.Warn("a node may not give itself this label", "label", label)
			delete(n.Labels, label)
		}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelHostname] = s.node
}

var ownLabels = []string{
	corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelTopologyRegion, corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelWindowsBuild,
}

// allowedLabel says whether a node may set the label: any that is not of Kubernetes' own domains, and of those the
// ones that describe the machine.
func allowedLabel(label string) bool {
	domain, _, ok := strings.Cut(label, "/")
	if !ok || slices.Contains(ownLabels, label) {
		return true
	}
	if within(domain, "kubelet.kubernetes.io") || within(domain, "node.kubernetes.io") {
		return true
	}
	return !within(domain, "kubernetes.io") && !within(domain, "k8s.io")
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// mergeNodeStatus takes the agent's word for the machine. Conditions that say what they said before
// stay as they are, so that a heartbeat writes nothing; times are the control plane's,
// for the machine's clock may be wrong.
func mergeNodeStatus(live, said corev1.NodeStatus) corev1.NodeStatus {
	now := metav1.Now()
	merged := slices.Clone(live.Conditions)
	for _, c := range said.Conditions {
		i := slices.IndexFunc(merged, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
		c.LastHeartbeatTime = now
		switch {
		case i < 0:
			c.LastTransitionTime = now
			merged = append(merged, c)
		case merged[i].Status != c.Status:
			c.LastTransitionTime = now
			merged[i] = c
		case merged[i].Reason != c.Reason || merged[i].Message != c.Message:
			c.LastTransitionTime = merged[i].LastTransitionTime
			merged[i] = c
		}
	}
	said.Conditions = merged
	said.VolumesAttached = live.VolumesAttached
	return said
}

// renewLease writes the node's Lease now and then while its agent is heard: for those who look
// there. Who must know at once asks LastHeard.
func (s *session) renewLease(ctx context.Context) error {
	tick := time.NewTicker(s.LeaseEvery)
	defer tick.Stop()
	for {
		if err := s.writeLease(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("lease not renewed", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *session) writeLease(ctx context.Context) error {
	heard, _ := s.LastHeard(s.node)
	life := int32(2 * s.LeaseEvery / time.Second)
	at := metav1.NewMicroTime(heard)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &s.node, LeaseDurationSeconds: &life, RenewTime: &at}
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: s.node},
		Spec:       spec,
	}
	if node, ok := state.Get[*corev1.Node](s.State, "", s.node); ok {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	}
	_, err := state.Create(ctx, s.State, lease)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = state.Update(ctx, s.State, corev1.NamespaceNodeLease, s.node, func(live *coordinationv1.Lease) error {
		live.OwnerReferences = lease.OwnerReferences
		live.Spec.HolderIdentity, live.Spec.LeaseDurationSeconds, live.Spec.RenewTime = spec.HolderIdentity, spec.LeaseDurationSeconds, spec.RenewTime
		return nil
	})
	return err
}
