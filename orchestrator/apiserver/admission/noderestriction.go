package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/state"
)

// NodeRestriction holds a node to its own objects, as far as their content decides: its Node, Lease and CSINode,
// the pods that are bound to it and its mirror pods, requests for its own certificates, tokens for its pods.
type NodeRestriction struct{ Authorizer auth.Authorizer }

// restricted is a write of a node.
type restricted struct {
	NodeRestriction
	*state.Attributes
	node string
}

// Admit implements Mutating; it changes nothing.
func (n NodeRestriction) Admit(ctx context.Context, a *state.Attributes) error {
	if a.User == nil || a.Operation == state.OpConnect {
		return nil
	}
	name, is := auth.NodeName(a.User.Username, a.User.Groups)
	switch {
	case !is:
		return nil
	case name == "":
		return forbidden(a, fmt.Errorf("could not determine node from user %q", a.User.Username))
	}
	w := &restricted{n, a, name}
	switch a.Kind.GroupResource().String() {
	case "pods":
		return w.pod()
	case "nodes":
		return w.itself()
	case "persistentvolumeclaims":
		return w.claim()
	case "serviceaccounts":
		return w.token(ctx)
	case "leases.coordination.k8s.io":
		if a.Namespace != corev1.NamespaceNodeLease {
			return w.forbid("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
		}
		return w.named("node lease")
	case "csinodes.storage.k8s.io":
		return w.named("CSINode")
	case "certificatesigningrequests.certificates.k8s.io":
		return w.certificate()
	}
	return nil
}

func (w *restricted) forbid(format string, args ...any) error {
	return forbidden(w.Attributes, fmt.Errorf(format, args...))
}

// named is for objects that have their node's name.
func (w *restricted) named(what string) error {
	name := w.Name
	if w.Operation == state.OpCreate {
		name = w.Object.GetName()
	}
	if name != w.node {
		return w.forbid("can only access %s with the same name as the requesting node", what)
	}
	return nil
}

func (w *restricted) pod() error {
	switch w.Subresource + ":" + w.Operation {
	case ":CREATE":
		return w.mirror()
	case ":DELETE":
		if w.Old.(*corev1.Pod).Spec.NodeName != w.node {
			return w.forbid("node %q can only delete pods with spec.nodeName set to itself", w.node)
		}
		return nil
	case "status:UPDATE":
		return w.podStatus()
	case "eviction:CREATE":
		pod, ok := state.Get[*corev1.Pod](w.Reader, w.Namespace, w.Name)
		switch {
		case !ok:
			return apierrors.NewNotFound(corev1.Resource("pods"), w.Name)
		case pod.Spec.NodeName != w.node:
			return w.forbid("node %s can only evict pods with spec.nodeName set to itself", w.node)
		}
		return nil
	case ":UPDATE":
		return w.forbid("unexpected operation %q, node %q can only create and delete mirror pods", w.Operation, w.node)
	}
	if w.Subresource == "status" || w.Subresource == "eviction" {
		return w.forbid("unexpected operation %q", w.Operation)
	}
	return w.forbid("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", w.Subresource)
}

// mirror is a pod that a node creates to show one that it runs by itself: it may name nothing that would give the node
// a right to read it.
func (w *restricted) mirror() error {
	pod, ok := w.Object.(*corev1.Pod)
	if !ok {
		return w.forbid("unexpected type %T", w.Object)
	}
	if _, is := pod.Annotations[corev1.MirrorPodAnnotationKey]; !is {
		return w.forbid("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, w.node)
	}
	if pod.Spec.NodeName != w.node {
		return w.forbid("node %q can only create pods with spec.nodeName set to itself", w.node)
	}
	if err := w.ownedByNode(pod); err != nil {
		return err
	}
	if what := named(pod); what != "" {
		return w.forbid("node %q can not create pods that reference %s", w.node, what)
	}
	return nil
}

func (w *restricted) ownedByNode(pod *corev1.Pod) error {
	switch len(pod.OwnerReferences) {
	case 0:
		return w.forbid("node %q can only create pods with an owner reference set to itself", w.node)
	case 1:
	default:
		return w.forbid("node %q can only create pods with a single owner reference set to itself", w.node)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != w.node:
		return w.forbid("node %q can only create pods with an owner reference set to itself", w.node)
	case owner.Controller == nil || !*owner.Controller:
		return w.forbid("node %q can only create pods with a controller owner reference set to itself", w.node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return w.forbid("node %q must not set blockOwnerDeletion on an owner reference", w.node)
	}
	node, ok := state.Get[*corev1.Node](w.Reader, "", w.node)
	switch {
	case !ok:
		return apierrors.NewNotFound(corev1.Resource("nodes"), w.node)
	case owner.UID != node.UID:
		return w.forbid("node %s UID mismatch: expected %s got %s", w.node, owner.UID, node.UID)
	}
	return nil
}

func (w *restricted) podStatus() error {
	old, pod := w.Old.(*corev1.Pod), w.Object.(*corev1.Pod)
	switch {
	case old.Spec.NodeName != w.node:
		return w.forbid("node %q can only update pod status for pods with spec.nodeName set to itself", w.node)
	case !maps.Equal(old.Labels, pod.Labels):
		return w.forbid("node %q cannot update labels through pod status", w.node)
	case !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses):
		return w.forbid("node %q cannot update resource claim statues", w.node)
	case !equality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus):
		return w.forbid("node %q cannot update extended resource claim status", w.node)
	}
	return nil
}

// claim lets a node tell how large a volume has become, and nothing else.
func (w *restricted) claim() error {
	if w.Subresource != "status" || w.Operation != state.OpUpdate {
		return w.forbid("may only update PVC status")
	}
	old, claim := w.Old.DeepCopyObject().(*corev1.PersistentVolumeClaim), w.Object.DeepCopyObject().(*corev1.PersistentVolumeClaim)
	for _, c := range []*corev1.PersistentVolumeClaim{old, claim} {
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil
	}
	if !equality.Semantic.DeepEqual(old, claim) {
		return w.forbid("node %q is not allowed to update fields other than status.quantity and status.conditions", w.node)
	}
	return nil
}

// itself is a write of the node's own Node.
func (w *restricted) itself() error {
	name := w.Name
	if w.Operation == state.OpCreate {
		name = w.Object.GetName()
	}
	if name != w.node {
		return w.forbid("node %q is not allowed to modify node %q", w.node, name)
	}
	node, _ := w.Object.(*corev1.Node)
	switch w.Operation {
	case state.OpCreate:
		if node.Spec.ConfigSource != nil { //nolint:staticcheck // it is served, and so it is guarded
			return w.forbid("node %q is not allowed to create pods with a non-nil configSource", w.node)
		}
		if labels := guarded(node.Labels, nil); len(labels) > 0 {
			return w.forbid("node %q is not allowed to set the following labels: %s", w.node, strings.Join(labels, ", "))
		}
	case state.OpUpdate:
		return w.changed(node, w.Old.(*corev1.Node))
	}
	return nil
}

func (w *restricted) changed(node, old *corev1.Node) error {
	//nolint:staticcheck // it is served, and so it is guarded
	source := node.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(node.Spec.ConfigSource, old.Spec.ConfigSource)
	switch labels := guarded(node.Labels, old.Labels); {
	case source:
		return w.forbid("node %q is not allowed to update configSource to a new non-nil configSource", w.node)
	case !equality.Semantic.DeepEqual(node.Spec.Taints, old.Spec.Taints):
		return w.forbid("node %q is not allowed to modify taints", w.node)
	case !equality.Semantic.DeepEqual(node.OwnerReferences, old.OwnerReferences):
		return w.forbid("node %q is not allowed to modify ownerReferences", w.node)
	case len(labels) > 0:
		return w.forbid("is not allowed to modify labels: %s", strings.Join(labels, ", "))
	}
	return nil
}

// ownLabels are those of Kubernetes' labels that nodes set themselves, beside those in the namespaces kubelet. and node.kubernetes.io.
var ownLabels = sets.New(
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceType, corev1.LabelInstanceTypeStable,
	corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
)

// guarded are the labels that differ and that a node must leave alone, in order.
func guarded(labels, old map[string]string) []string {
	found := sets.New[string]()
	for _, pair := range [][2]map[string]string{{labels, old}, {old, labels}} {
		for key, value := range pair[0] {
			if other, ok := pair[1][key]; (!ok || other != value) && isGuarded(key) {
				found.Insert(key)
			}
		}
	}
	return sets.List(found)
}

func isGuarded(label string) bool {
	namespace, _, ok := strings.Cut(label, "/")
	if !ok {
		return false
	}
	in := func(domain string) bool { return namespace == domain || strings.HasSuffix(namespace, "."+domain) }
	switch {
	case in(corev1.LabelNamespaceNodeRestriction):
		return true
	case !in("kubernetes.io") && !in("k8s.io"):
		return false
	}
	return !ownLabels.Has(label) && !in(corev1.LabelNamespaceSuffixKubelet) && !in(corev1.LabelNamespaceSuffixNode)
}

// token is a request for a token of a service account: it must be bound to a pod on the node, and for an audience that the
// pod asks for.
func (w *restricted) token(ctx context.Context) error {
	if w.Operation != state.OpCreate || w.Subresource != "token" {
		return nil
	}
	request, ok := w.Sent().(*authenticationv1.TokenRequest)
	if !ok {
		return w.forbid("unexpected type %T", w.Sent())
	}
	ref := request.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return w.forbid("node requested token not bound to a pod")
	case ref.UID == "":
		return w.forbid("node requested token with a pod binding without a uid")
	}
	pod, ok := state.Get[*corev1.Pod](w.Reader, w.Namespace, ref.Name)
	switch {
	case !ok:
		return apierrors.NewNotFound(corev1.Resource("pods"), ref.Name)
	case ref.UID != pod.UID:
		return w.forbid("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	case pod.Spec.NodeName != w.node:
		return w.forbid("node requested token bound to a pod scheduled on a different node")
	}
	return w.audience(ctx, request.Spec.Audiences, pod)
}

func (w *restricted) audience(ctx context.Context, asked []string, pod *corev1.Pod) error {
	audience := ""
	switch len(asked) {
	case 0:
	case 1:
		audience = asked[0]
	default:
		return forbidden(w.Attributes, errors.New("node may only request 0 or 1 audiences"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
		}) {
			return nil
		}
	}
	decision, _, err := w.Authorizer.Authorize(ctx, &auth.Attributes{
		User: auth.UserOf(w.User), Verb: "request-serviceaccounts-token-audience", Resource: true, Version: "v1",
		Plural: audience, Namespace: w.Namespace, Name: w.Name})
	switch {
	case err != nil:
		return forbidden(w.Attributes, err)
	case decision == auth.Allow:
		return nil
	}
	return w.forbid("audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", audience, w.User.Username)
}

// certificate is a request for a certificate of a node: for itself alone.
func (w *restricted) certificate() error {
	request, ok := w.Object.(*certificatesv1.CertificateSigningRequest)
	if w.Operation != state.OpCreate || !ok {
		return nil
	}
	switch request.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName:
	default:
		return nil
	}
	parsed, err := parseRequest(request.Spec.Request)
	switch {
	case err != nil:
		return w.forbid("unable to parse csr: %w", err)
	case parsed.Subject.CommonName != "system:node:"+w.node:
		return w.forbid("can only create a node CSR with CN=system:node:%s", w.node)
	}
	return nil
}
