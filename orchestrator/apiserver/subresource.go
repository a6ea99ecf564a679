package apiserver

import (
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/state"
)

// action is a subresource that does something instead of showing the object.
type action struct {
	of    schema.GroupVersionResource
	name  string
	kind  schema.GroupVersionKind // what is sent, or asked by the query
	long  bool                    // it streams
	doors map[string]handler      // by verb
}

var (
	pods     = corev1.SchemeGroupVersion.WithResource("pods")
	services = corev1.SchemeGroupVersion.WithResource("services")
	nodes    = corev1.SchemeGroupVersion.WithResource("nodes")
	actions  = []action{
		{of: nodes, name: "proxy", kind: corev1.SchemeGroupVersion.WithKind("NodeProxyOptions"), long: true, doors: anyVerb((*call).proxyNode)},
		{of: pods, name: "attach", kind: corev1.SchemeGroupVersion.WithKind("PodAttachOptions"), long: true, doors: streaming((*call).attach)},
		{of: pods, name: "binding", kind: bindingKind, doors: map[string]handler{"create": (*call).binding}},
		{of: pods, name: "eviction", kind: evictionKind, doors: map[string]handler{"create": (*call).eviction}},
		{of: pods, name: "exec", kind: corev1.SchemeGroupVersion.WithKind("PodExecOptions"), long: true, doors: streaming((*call).exec)},
		{of: pods, name: "log", kind: corev1.SchemeGroupVersion.WithKind("Pod"), long: true, doors: map[string]handler{"get": (*call).log}},
		{of: pods, name: "portforward", kind: corev1.SchemeGroupVersion.WithKind("PodPortForwardOptions"), long: true, doors: streaming((*call).forward)},
		{of: pods, name: "proxy", kind: corev1.SchemeGroupVersion.WithKind("PodProxyOptions"), long: true, doors: anyVerb((*call).proxyPod)},
		{of: accounts, name: "token", kind: tokenRequestKind, doors: map[string]handler{"create": (*call).tokenRequest}},
		{of: services, name: "proxy", kind: corev1.SchemeGroupVersion.WithKind("ServiceProxyOptions"), long: true, doors: anyVerb((*call).proxyService)},
	}
	bindingKind  = corev1.SchemeGroupVersion.WithKind("Binding")
	evictionKind = policyv1.SchemeGroupVersion.WithKind("Eviction")
)

// streaming are the doors of a subresource that upgrades the connection: a WebSocket comes
// with GET, SPDY with POST.
func streaming(h handler) map[string]handler {
	return map[string]handler{"get": h, "create": h}
}

// anyVerb are the doors of a subresource that passes requests on.
func anyVerb(h handler) map[string]handler {
	return map[string]handler{"get": h, "create": h, "update": h, "patch": h, "delete": h}
}

func findAction(of schema.GroupVersionResource, name string) (action, bool) {
	for _, a := range actions {
		if a.of == of && a.name == name {
			return a, true
		}
	}
	return action{}, false
}

// findSubresource chooses what answers a call for a subresource.
func (c *call) findSubresource() (handler, bool, error) {
	if c.at.name == "" {
		return nil, false, noResource()
	}
	if a, ok := findAction(c.kind.GroupVersionResource(), c.at.subresource); ok {
		handle, ok := a.doors[c.at.verb]
		if !ok {
			return nil, false, methodNotAllowed()
		}
		return connecting(a, handle), a.long, nil
	}
	sub, ok := c.kind.Subresources[c.at.subresource]
	if !ok || c.at.rest != "" {
		return nil, false, noResource()
	}
	doors := stored
	if sub.Scale != nil {
		doors = scaleDoors
	}
	handle, ok := doors[c.at.verb]
	if !ok || sub.Verbs != nil && !slices.Contains(sub.Verbs, c.at.verb) {
		return nil, false, methodNotAllowed()
	}
	return handle, false, nil
}

// binding puts a pod on a node: POST pods/NAME/binding.
func (c *call) binding() error {
	b := &corev1.Binding{}
	options, err := c.posted(bindingKind, b)
	if err != nil {
		return err
	}
	if b.Name != "" && b.Name != c.at.name {
		return apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	b.Name = c.at.name
	return c.bind(b, options)
}

// bindings is the older door: POST bindings, the name in the body.
func (c *call) bindings() error {
	b := &corev1.Binding{}
	options, err := c.posted(bindingKind, b)
	if err != nil {
		return err
	}
	return c.bind(b, options)
}

func (c *call) bind(b *corev1.Binding, options *metav1.CreateOptions) error {
	switch {
	case b.Namespace != "" && b.Namespace != c.at.namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	case b.Target.Kind != "" && b.Target.Kind != "Node":
		return apierrors.NewBadRequest(fmt.Sprintf("target.kind %q is not supported: must be Node", b.Target.Kind))
	case b.Target.Name == "":
		return apierrors.NewBadRequest("target.name is required")
	}
	errs := c.s.state.Bind(c.ctx(), []state.Binding{{
		Namespace: c.at.namespace, Name: b.Name, UID: b.UID, Node: b.Target.Name, Labels: b.Labels, Annotations: b.Annotations,
		DryRun: len(options.DryRun) > 0, User: c.user.Info(), Options: options, Remarks: c.remarks(),
	}})
	if errs[0] != nil {
		return errs[0]
	}
	return c.success(http.StatusCreated, nil)
}
