package pod

import (
	"context"
	"net"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/runtime"
)

// What a pod needs from the rest of the agent. Everything here may be called concurrently for different pods;
// calls for one pod are not concurrent, except Dial.

// Errors of Images.Ensure that are more than a failed pull.
var (
	ErrInvalidImageName = runtime.ErrInvalidImageName
	ErrImageNeverPull   = runtime.ErrImageNeverPull
)

// Images makes images ready on this machine.
type Images interface {
	// Present reports whether Ensure with the policy IfNotPresent would need no registry.
	Present(ctx context.Context, ref string) bool
	// Ensure returns the image, pulled as policy says ("Always", "IfNotPresent", "Never"). pullSecrets are the
	// contents of the pod's pull secrets, in order, as in a .dockerconfigjson. The image stays usable
	// until Release. It does not wait after a failure: Ensure's caller backs off. Errors:
	// ErrInvalidImageName, ErrImageNeverPull, anything else is a failed pull (ErrImagePull).
	Ensure(ctx context.Context, ref, policy string, pullSecrets [][]byte) (runtime.Image, error)
	// InUse says which images (by digest) the pod uses from now on; those that no pod uses may be removed. nil: none.
	InUse(podUID string, digests []string)
}

// Objects are the objects that this node was told of. They are shared: not to be changed. nil: there is none.
type Objects interface {
	ConfigMap(namespace, name string) *corev1.ConfigMap
	Secret(namespace, name string) *corev1.Secret
	// Token is the service-account token that a pod's volume asks for: an empty audience is the API's. "": it has not
	// come yet.
	Token(podUID, audience string, seconds int64) string
	// Services of the namespace, for the environment of its pods.
	Services(namespace string) []*corev1.Service
}

// Volumes prepares what a pod's containers mount.
type Volumes interface {
	// Prepare makes all of the pod's volumes and returns the host path of each, by volume name. It may be called again,
	// also after a restart of the agent: what is in an emptyDir stays. An error (a Secret is missing, a kind of volume
	// is not supported) is shown as FailedMount and retried.
	Prepare(ctx context.Context, p *corev1.Pod, o Objects) (map[string]string, error)
	// Update brings what was made of ConfigMaps, Secrets and the pod's own fields up to date. It is called when any of
	// them may have changed.
	Update(ctx context.Context, p *corev1.Pod, o Objects) error
	// Remove removes everything of the pod's volumes. Unknown pods: nil.
	Remove(ctx context.Context, podUID string) error
}

// Attachment is a pod that wants an address.
type Attachment struct {
	PodUID, Namespace, Name string
	// HostNetwork: the address is the node's, listeners are the node's.
	HostNetwork bool
	// Address that the pod had before the agent was restarted, to be given again if it is free; "" for a new pod.
	Address string
}

// Network gives pods addresses.
type Network interface {
	// Attach gives the pod an address and returns it. Attached pods keep theirs.
	Attach(ctx context.Context, a Attachment) (ip string, err error)
	// Detach takes the address back and ends the pod's connections. Unknown pods: nothing.
	Detach(podUID string)
	// Dial connects from this node to an address, also of a pod: for probes and lifecycle hooks.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Reports takes what the control plane is to know. No method waits.
type Reports interface {
	// Status says what the pod's state is now; only the newest one counts. gone says that nothing of the pod is left here.
	Status(p *corev1.Pod, s *corev1.PodStatus, gone bool)
	// Event tells about the pod. An event with a name that was used before replaces that one.
	Event(e *corev1.Event)
}
