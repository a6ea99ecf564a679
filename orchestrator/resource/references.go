package resource

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/v1/persistentvolume"
	"k8s.io/kubernetes/pkg/api/v1/pod"
)

// PodSecrets and PodConfigMaps say whether a pod names, wherever in its spec that is possible, an object whose name
// is wanted.
func PodSecrets(p *corev1.Pod, wanted func(name string) bool) (found bool) {
	pod.VisitPodSecretNames(p, func(name string) bool { // what it returns does not tell of containers
		found = found || wanted(name)
		return !found
	})
	return found
}

func PodConfigMaps(p *corev1.Pod, wanted func(name string) bool) (found bool) {
	pod.VisitPodConfigmapNames(p, func(name string) bool {
		found = found || wanted(name)
		return !found
	})
	return found
}

// PodClaims are the PersistentVolumeClaims that a pod mounts, by name.
func PodClaims(p *corev1.Pod) (names []string) {
	for _, v := range p.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, p.Name+"-"+v.Name)
		}
	}
	return names
}

// VolumeNamesSecret says whether a node that mounts the volume needs the Secret.
func VolumeNamesSecret(pv *corev1.PersistentVolume, namespace, name string) bool {
	return !persistentvolume.VisitPVSecretNames(pv, func(ns, named string, onNode bool) bool {
		return !onNode || ns != namespace || named != name
	})
}
