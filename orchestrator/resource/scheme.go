package resource

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	admissiondefaults "k8s.io/kubernetes/pkg/apis/admissionregistration/v1"
	appsdefaults "k8s.io/kubernetes/pkg/apis/apps/v1"
	autoscalingdefaults "k8s.io/kubernetes/pkg/apis/autoscaling/v1"
	autoscalingv2defaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	batchdefaults "k8s.io/kubernetes/pkg/apis/batch/v1"
	certificatesdefaults "k8s.io/kubernetes/pkg/apis/certificates/v1"
	coredefaults "k8s.io/kubernetes/pkg/apis/core/v1"
	discoverydefaults "k8s.io/kubernetes/pkg/apis/discovery/v1"
	flowcontroldefaults "k8s.io/kubernetes/pkg/apis/flowcontrol/v1"
	networkingdefaults "k8s.io/kubernetes/pkg/apis/networking/v1"
	policydefaults "k8s.io/kubernetes/pkg/apis/policy/v1"
	rbacdefaults "k8s.io/kubernetes/pkg/apis/rbac/v1"
	schedulingdefaults "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	storagedefaults "k8s.io/kubernetes/pkg/apis/storage/v1"
)

// newScheme returns the scheme of the external types that the API speaks, with
// Kubernetes' own defaults.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{
		metav1.AddMetaToScheme,
		corev1.AddToScheme, coredefaults.RegisterDefaults,
		admissionv1.AddToScheme, admissiondefaults.RegisterDefaults,
		appsv1.AddToScheme, appsdefaults.RegisterDefaults,
		autoscalingv1.AddToScheme, autoscalingdefaults.RegisterDefaults,
		autoscalingv2.AddToScheme, autoscalingv2defaults.RegisterDefaults,
		eventsv1.AddToScheme,
		discoveryv1.AddToScheme, discoverydefaults.RegisterDefaults,
		coordinationv1.AddToScheme,
		batchv1.AddToScheme, batchdefaults.RegisterDefaults,
		policyv1.AddToScheme, policydefaults.RegisterDefaults,
		networkingv1.AddToScheme, networkingdefaults.RegisterDefaults,
		nodev1.AddToScheme,
		schedulingv1.AddToScheme, schedulingdefaults.RegisterDefaults,
		storagev1.AddToScheme, storagedefaults.RegisterDefaults,
		rbacv1.AddToScheme, rbacdefaults.RegisterDefaults,
		certificatesv1.AddToScheme, certificatesdefaults.RegisterDefaults,
		flowcontrolv1.AddToScheme, flowcontroldefaults.RegisterDefaults,
		apiextensionsv1.AddToScheme,
		apiregistrationv1.AddToScheme, // with its defaults
	} {
		utilruntime.Must(add(s))
	}
	return s
}
