package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// What this node does not do. A pod that asks for it is refused with these words: it stays Pending, its containers
// wait with CreateContainerConfigError.
//
// Not listed is what only takes rights away that no guest has to begin with (users, groups, capabilities.drop, seccomp
// and AppArmor profiles, readOnlyRootFilesystem): such a pod runs, and it is as restricted as it asks to be. Kinds of volumes
// are refused by package volume, runtime classes and images by the drivers.

// podRefusals are about the pod as a whole.
var podRefusals = []struct {
	field string
	asks  func(*corev1.PodSpec) bool
	why   string
}{
	{"hostPID", func(s *corev1.PodSpec) bool { return s.HostPID }, "guests see no processes of the node"},
	{"hostIPC", func(s *corev1.PodSpec) bool { return s.HostIPC }, "guests have no System V IPC"},
	{"shareProcessNamespace", func(s *corev1.PodSpec) bool { return isTrue(s.ShareProcessNamespace) }, "guests see no other processes"},
	{"hostAliases", func(s *corev1.PodSpec) bool { return len(s.HostAliases) > 0 }, "use a Service of type ExternalName"},
	{"dnsConfig", func(s *corev1.PodSpec) bool { return s.DNSConfig != nil }, "names are resolved by the cluster's DNS"},
	{"dnsPolicy", func(s *corev1.PodSpec) bool {
		return s.DNSPolicy == corev1.DNSNone || s.DNSPolicy == corev1.DNSDefault
	}, "use ClusterFirst"},
	{"resourceClaims", func(s *corev1.PodSpec) bool { return len(s.ResourceClaims) > 0 }, "there are no devices to be claimed"},
	{"resources", func(s *corev1.PodSpec) bool { return s.Resources != nil }, "set the resources of the containers"},
	{"securityContext.sysctls", func(s *corev1.PodSpec) bool {
		return s.SecurityContext != nil && len(s.SecurityContext.Sysctls) > 0
	}, "guests have no kernel of their own"},
}

// containerRefusals are about one container.
var containerRefusals = []struct {
	field string
	asks  func(*corev1.Container) bool
	why   string
}{
	{"lifecycle.stopSignal", func(c *corev1.Container) bool { return c.Lifecycle != nil && c.Lifecycle.StopSignal != nil }, "guests have no signals"},
	{"volumeDevices", func(c *corev1.Container) bool { return len(c.VolumeDevices) > 0 }, "guests have no block devices"},
	{"tty", func(c *corev1.Container) bool { return c.TTY }, "guests have no terminal"},
	{"resources.claims", func(c *corev1.Container) bool { return len(c.Resources.Claims) > 0 }, "there are no devices to be claimed"},
	{"securityContext.privileged", func(c *corev1.Container) bool {
		return c.SecurityContext != nil && isTrue(c.SecurityContext.Privileged)
	}, "no guest gets the rights of the node"},
	{"securityContext.capabilities.add", func(c *corev1.Container) bool {
		return c.SecurityContext != nil && c.SecurityContext.Capabilities != nil && len(c.SecurityContext.Capabilities.Add) > 0
	}, "guests have no capabilities"},
	{"securityContext.procMount", func(c *corev1.Container) bool {
		return c.SecurityContext != nil && c.SecurityContext.ProcMount != nil && *c.SecurityContext.ProcMount != corev1.DefaultProcMount
	}, "guests have no /proc"},
	{"ports.protocol SCTP", func(c *corev1.Container) bool {
		return anyPort(c, func(p corev1.ContainerPort) bool { return p.Protocol == corev1.ProtocolSCTP })
	}, "use TCP or UDP"},
	{"env.valueFrom.fileKeyRef", func(c *corev1.Container) bool {
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.FileKeyRef != nil {
				return true
			}
		}
		return false
	}, "use a ConfigMap or a Secret"},
	{"volumeMounts.mountPropagation", func(c *corev1.Container) bool {
		for _, m := range c.VolumeMounts {
			if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
				return true
			}
		}
		return false
	}, "guests cannot mount"},
	{"restartPolicyRules.action RestartAllContainers", func(c *corev1.Container) bool {
		for _, r := range c.RestartPolicyRules {
			if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
		return false
	}, "use Restart"},
}

// unsupported says what of the pod this node does not do; "" if it does everything.
func unsupported(p *corev1.Pod) string {
	for _, r := range podRefusals {
		if r.asks(&p.Spec) {
			return fmt.Sprintf("spec.%s is not supported by this node: %s", r.field, r.why)
		}
	}
	for c := range containers(p) {
		for _, r := range containerRefusals {
			if r.asks(c) {
				return fmt.Sprintf("container %s: %s is not supported by this node: %s", c.Name, r.field, r.why)
			}
		}
	}
	return ""
}

func isTrue(b *bool) bool { return b != nil && *b }

func postStart(c *corev1.Container) *corev1.LifecycleHandler {
	if c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PostStart
}

func preStop(c *corev1.Container) *corev1.LifecycleHandler {
	if c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PreStop
}

func anyPort(c *corev1.Container, is func(corev1.ContainerPort) bool) bool {
	for _, p := range c.Ports {
		if is(p) {
			return true
		}
	}
	return false
}
