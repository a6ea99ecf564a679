package downlink

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"wherry/proto/nodelink"
)

// namedBy are the objects that a pod needs on its node, each once: its Namespace, its
// ServiceAccount, the ConfigMaps and Secrets of its environment, volumes and image pulls.
func namedBy(p *corev1.Pod) []key {
	n := names{namespace: p.Namespace, keys: []key{{kind: nodelink.Kind_KIND_NAMESPACE, name: p.Namespace}}}
	n.add(nodelink.Kind_KIND_SERVICE_ACCOUNT, p.Spec.ServiceAccountName)
	for _, s := range p.Spec.ImagePullSecrets {
		n.add(nodelink.Kind_KIND_SECRET, s.Name)
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		n.environment(c.Env, c.EnvFrom)
	}
	for _, c := range p.Spec.EphemeralContainers {
		n.environment(c.Env, c.EnvFrom)
	}
	for _, v := range p.Spec.Volumes {
		n.volume(v.VolumeSource)
	}
	slices.SortFunc(n.keys, key.compare)
	return slices.Compact(n.keys)
}

type names struct {
	namespace string
	keys      []key
}

func (n *names) add(kind nodelink.Kind, name string) {
	if name != "" {
		n.keys = append(n.keys, key{kind, n.namespace, name})
	}
}

func (n *names) environment(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			n.add(nodelink.Kind_KIND_CONFIG_MAP, r.Name)
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			n.add(nodelink.Kind_KIND_SECRET, r.Name)
		}
	}
	for _, f := range from {
		if f.ConfigMapRef != nil {
			n.add(nodelink.Kind_KIND_CONFIG_MAP, f.ConfigMapRef.Name)
		}
		if f.SecretRef != nil {
			n.add(nodelink.Kind_KIND_SECRET, f.SecretRef.Name)
		}
	}
}

func (n *names) volume(v corev1.VolumeSource) {
	if v.ConfigMap != nil {
		n.add(nodelink.Kind_KIND_CONFIG_MAP, v.ConfigMap.Name)
	}
	if v.Secret != nil {
		n.add(nodelink.Kind_KIND_SECRET, v.Secret.SecretName)
	}
	if v.Projected == nil {
		return
	}
	for _, s := range v.Projected.Sources {
		if s.ConfigMap != nil {
			n.add(nodelink.Kind_KIND_CONFIG_MAP, s.ConfigMap.Name)
		}
		if s.Secret != nil {
			n.add(nodelink.Kind_KIND_SECRET, s.Secret.Name)
		}
	}
}
