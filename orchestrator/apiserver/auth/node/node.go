// Package node judges what nodes may do: a user system:node:NAME in the group system:nodes
// reads what the pods on that node name and nothing else, and writes its own objects. What of an
// object's content decides is left to the admission rule NodeRestriction.
package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/auth/rbac"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Authorizer judges nodes, and has no opinion about others.
type Authorizer struct {
	state func() *state.State
	rules []rbacv1.PolicyRule // for what does not depend on which node asks
}

// New returns an authorizer over a state; see rbac.New.
func New(s func() *state.State) *Authorizer { return &Authorizer{s, rbac.NodeRules()} }

// Rules implements auth.Authorizer.
func (*Authorizer) Rules(_ context.Context, user *auth.User, _ string) (auth.Rules, error) {
	if _, is := auth.NodeName(user.Name, user.Groups); !is {
		return auth.Rules{}, nil
	}
	return auth.Rules{Incomplete: true, Problem: errors.New("node authorizer does not support user rule resolution")}, nil
}

// Authorize implements auth.Authorizer.
func (z *Authorizer) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	name, is := auth.NodeName(a.User.Name, a.User.Groups)
	switch {
	case !is:
		return auth.NoOpinion, "", nil
	case name == "":
		return auth.NoOpinion, fmt.Sprintf("unknown node for user %q", a.User.Name), nil
	}
	why, allowed := z.judge(&asked{Attributes: a, node: name, state: z.state()})
	if allowed {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, why, nil
}

// asked is what a node asks for.
type asked struct {
	*auth.Attributes
	node  string
	state *state.State
}

// judge says why not, if not.
func (z *Authorizer) judge(a *asked) (why string, allowed bool) {
	judges := map[string]func(*asked) (string, bool){
		"secrets":                             (*asked).secret,
		"configmaps":                          (*asked).configMap,
		"persistentvolumeclaims":              (*asked).claim,
		"persistentvolumes":                   (*asked).volume,
		"serviceaccounts":                     (*asked).account,
		"nodes":                               (*asked).nodes,
		"pods":                                (*asked).pods,
		"volumeattachments.storage.k8s.io":    (*asked).attachment,
		"csinodes.storage.k8s.io":             (*asked).csiNode,
		"leases.coordination.k8s.io":          (*asked).lease,
		"resourceclaims.resource.k8s.io":      (*asked).unrelated,
		"resourceslices.resource.k8s.io":      (*asked).unrelated,
		"podcertificaterequests." + certGroup: (*asked).unrelated,
	}
	key := a.Plural
	if a.Group != "" {
		key += "." + a.Group
	}
	if judge, ok := judges[key]; ok && a.Resource {
		return judge(a)
	}
	for i := range z.rules {
		if rbac.Allows(&z.rules[i], a.Attributes) {
			return "", true
		}
	}
	return "", false
}

const certGroup = "certificates.k8s.io"

// unrelated is what is said of everything that the node's pods do not name.
func (a *asked) unrelated() (string, bool) {
	return fmt.Sprintf("no relationship found between node '%s' and this object", a.node), false
}

// related is the answer to a question about one object.
func (a *asked) related(is func() bool) (string, bool) {
	switch {
	case a.Name == "":
		return "No Object name found", false
	case !is():
		return a.unrelated()
	}
	return "", true
}

// readable is for objects in a namespace of which a single one may be read, listed and watched.
func (a *asked) readable(is func() bool) (string, bool) {
	switch {
	case !slices.Contains([]string{"get", "list", "watch"}, a.Verb):
		return "can only read resources of this type", false
	case a.Subresource != "":
		return "cannot read subresource", false
	case a.Namespace == "":
		return "can only read namespaced object of this type", false
	}
	return a.related(is)
}

// gettable is for objects of which a single one may be got.
func (a *asked) gettable(is func() bool) (string, bool) {
	switch {
	case a.Verb != "get":
		return "can only get individual resources of this type", false
	case a.Subresource != "":
		return "cannot get subresource", false
	}
	return a.related(is)
}

func (a *asked) named(name string) bool { return name == a.Name }

// onNode says whether a pod of the namespace that is bound to the node fits. Mirror pods, which nodes make
// themselves, give no rights.
func (a *asked) onNode(namespace string, fits func(*corev1.Pod) bool) bool {
	return slices.ContainsFunc(state.List[*corev1.Pod](a.state, state.Selector{Namespace: namespace, Node: a.node}), func(p *corev1.Pod) bool {
		_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
		return !mirror && fits(p)
	})
}

func (a *asked) secret() (string, bool) {
	return a.readable(func() bool {
		return a.onNode(a.Namespace, func(p *corev1.Pod) bool { return resource.PodSecrets(p, a.named) || a.volumeSecret(p) })
	})
}

// volumeSecret says whether a volume that p mounts needs the secret.
func (a *asked) volumeSecret(p *corev1.Pod) bool {
	for _, name := range resource.PodClaims(p) {
		claim, ok := state.Get[*corev1.PersistentVolumeClaim](a.state, p.Namespace, name)
		if !ok || claim.Spec.VolumeName == "" {
			continue
		}
		pv, ok := state.Get[*corev1.PersistentVolume](a.state, "", claim.Spec.VolumeName)
		if ok && claims(pv, p.Namespace, name) && resource.VolumeNamesSecret(pv, a.Namespace, a.Name) {
			return true
		}
	}
	return false
}

func claims(pv *corev1.PersistentVolume, namespace, name string) bool {
	ref := pv.Spec.ClaimRef
	return ref != nil && ref.Namespace == namespace && ref.Name == name
}

func (a *asked) configMap() (string, bool) {
	return a.readable(func() bool {
		return a.onNode(a.Namespace, func(p *corev1.Pod) bool { return resource.PodConfigMaps(p, a.named) })
	})
}

func (a *asked) mounted(namespace, claim string) bool {
	return a.onNode(namespace, func(p *corev1.Pod) bool { return slices.Contains(resource.PodClaims(p), claim) })
}

func (a *asked) claim() (string, bool) {
	is := func() bool { return a.mounted(a.Namespace, a.Name) }
	switch {
	case a.Subresource != "status":
		return a.gettable(is)
	case a.Verb != "update" && a.Verb != "patch":
		return "can only get/update/patch this type", false
	}
	return a.related(is)
}

func (a *asked) volume() (string, bool) {
	return a.gettable(func() bool {
		pv, ok := state.Get[*corev1.PersistentVolume](a.state, "", a.Name)
		return ok && pv.Spec.ClaimRef != nil && a.mounted(pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
	})
}

func (a *asked) attachment() (string, bool) {
	return a.gettable(func() bool {
		v, ok := state.Get[*storagev1.VolumeAttachment](a.state, "", a.Name)
		return ok && v.Spec.NodeName == a.node
	})
}

func (a *asked) account() (string, bool) {
	is := func() bool {
		return a.onNode(a.Namespace, func(p *corev1.Pod) bool { return p.Spec.ServiceAccountName == a.Name })
	}
	switch {
	case a.Verb == "get" && a.Subresource == "":
		return a.readable(is)
	case a.Verb != "create" || a.Name == "":
		return "can only create tokens for individual service accounts", false
	case a.Subresource != "token":
		return "can only create token subresource of serviceaccount", false
	}
	return a.related(is)
}

var ownVerbs = []string{"get", "create", "update", "patch", "delete"}

func (a *asked) lease() (string, bool) {
	switch {
	case !slices.Contains(ownVerbs, a.Verb):
		return "can only get, create, update, patch, or delete a node lease", false
	case a.Namespace != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease), false
	case a.Verb != "create" && a.Name != a.node: // a creation names nothing in its path
		return "can only access node lease with the same name as the requesting node", false
	}
	return "", true
}

func (a *asked) csiNode() (string, bool) {
	switch {
	case !slices.Contains(ownVerbs, a.Verb):
		return "can only get, create, update, patch, or delete a CSINode", false
	case a.Subresource != "":
		return "cannot authorize CSINode subresources", false
	case a.Verb != "create" && a.Name != a.node:
		return "can only access CSINode with the same name as the requesting node", false
	}
	return "", true
}

func (a *asked) nodes() (string, bool) {
	switch a.Subresource + ":" + a.Verb {
	case ":create", ":update", ":patch", "status:update", "status:patch":
		return "", true
	case ":get", ":list", ":watch":
	default:
		return "", false
	}
	switch a.Name {
	case a.node:
		return "", true
	case "":
		return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", a.node), false
	}
	return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", a.node, a.Name), false
}

func (a *asked) pods() (string, bool) {
	bound := func() bool {
		p, ok := state.Get[*corev1.Pod](a.state, a.Namespace, a.Name)
		return ok && p.Spec.NodeName == a.node
	}
	switch a.Subresource + ":" + a.Verb {
	case ":create", ":delete", "status:update", "status:patch", "eviction:create":
		return "", true
	case ":get":
		return a.gettable(bound)
	case ":list", ":watch":
	default:
		return "", false
	}
	own := func(r fields.Requirement) bool {
		return r.Field == "spec.nodeName" && r.Operator == selection.Equals && r.Value == a.node
	}
	switch {
	case slices.ContainsFunc(a.Fields, own):
		return "", true
	case a.Name != "":
		return a.related(bound)
	}
	return "can only list/watch pods with spec.nodeName field selector", false
}
