package resource

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	appsdefaults "k8s.io/kubernetes/pkg/apis/apps/v1"
	autoscalingdefaults "k8s.io/kubernetes/pkg/apis/autoscaling/v1"
	autoscalingv2defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	coredefaults "k8s.io/kubernetes/pkg/apis/core/v1"
	discoverydefaults "k8s.io/kubernetes/pkg/apis/discovery/v1"
)

// newScheme returns the scheme of the external types that the API speaks, with
// Kubernetes' own defaults.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{
		metav1.AddMetaToScheme,
		corev1.AddToScheme, coredefaults.RegisterDefaults,
		appsv1.AddToScheme, appsdefaults.RegisterDefaults,
		autoscalingv1.AddToScheme, autoscalingdefaults.RegisterDefaults,
		autoscalingv2.AddToScheme, autoscalingv2defaults.RegisterDefaults,
		eventsv1.AddToScheme,
		discoveryv1.AddToScheme, discoverydefaults.RegisterDefaults,
		coordinationv1.AddToScheme,
		policyv1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}
