package admission

import (
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/resource"
)

// named is what other objects a pod's spec names, as Kubernetes words it; "" if none.
func named(pod *corev1.Pod) string {
	any := func(string) bool { return true }
	switch {
	case pod.Spec.ServiceAccountName != "":
		return "serviceaccounts"
	case resource.PodSecrets(pod, any):
		return "secrets"
	case resource.PodConfigMaps(pod, any):
		return "configmaps"
	case len(pod.Spec.ResourceClaims) > 0:
		return "resourceclaims"
	}
	for _, v := range pod.Spec.Volumes {
		if what := namedByVolume(&v.VolumeSource); what != "" {
			return what
		}
	}
	return ""
}

func namedByVolume(v *corev1.VolumeSource) string {
	switch {
	case v.ConfigMap != nil:
		return "configmaps (via configmap volumes)"
	case v.Secret != nil:
		return "secrets (via secret volumes)"
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)"
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)"
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims"
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)"
	case v.AzureFile != nil:
		return "secrets (via azureFile volumes)"
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if what := namedByProjection(&v.Projected.Sources[i]); what != "" {
				return what
			}
		}
	}
	return ""
}

func namedByProjection(s *corev1.VolumeProjection) string {
	switch {
	case s.ConfigMap != nil:
		return "configmaps (via projected volumes)"
	case s.Secret != nil:
		return "secrets (via projected volumes)"
	case s.ServiceAccountToken != nil:
		return "serviceaccounts (via projected volumes)"
	case s.ClusterTrustBundle != nil:
		return "clustertrustbundles"
	case s.PodCertificate != nil:
		return "podcertificates"
	case s.DownwardAPI != nil:
		return ""
	}
	return "unknown projected volumes"
}
