package resource

import (
	"fmt"
	"sync"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsv1conversion "k8s.io/kubernetes/pkg/apis/apps/v1"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingv1conversion "k8s.io/kubernetes/pkg/apis/autoscaling/v1"
	autoscalingv2conversion "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchv1conversion "k8s.io/kubernetes/pkg/apis/batch/v1"
	"k8s.io/kubernetes/pkg/apis/certificates"
	certificatesv1conversion "k8s.io/kubernetes/pkg/apis/certificates/v1"
	"k8s.io/kubernetes/pkg/apis/coordination"
	coordinationv1conversion "k8s.io/kubernetes/pkg/apis/coordination/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1conversion "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryv1conversion "k8s.io/kubernetes/pkg/apis/discovery/v1"
	eventsinternal "k8s.io/kubernetes/pkg/apis/events"
	eventsv1conversion "k8s.io/kubernetes/pkg/apis/events/v1"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	flowcontrolv1conversion "k8s.io/kubernetes/pkg/apis/flowcontrol/v1"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingv1conversion "k8s.io/kubernetes/pkg/apis/networking/v1"
	"k8s.io/kubernetes/pkg/apis/node"
	nodev1conversion "k8s.io/kubernetes/pkg/apis/node/v1"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyv1conversion "k8s.io/kubernetes/pkg/apis/policy/v1"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacv1conversion "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingv1conversion "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/apis/storage"
	storagev1conversion "k8s.io/kubernetes/pkg/apis/storage/v1"
)

// Kubernetes' validation speaks its internal types. They appear here and in the calls
// that the kinds make through these functions, and nowhere else.

// converter knows how external types become internal ones and back. It is made on first use.
var converter = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, corev1conversion.AddToScheme,
		apps.AddToScheme, appsv1conversion.AddToScheme,
		discovery.AddToScheme, discoveryv1conversion.AddToScheme,
		batch.AddToScheme, batchv1conversion.AddToScheme,
		policy.AddToScheme, policyv1conversion.AddToScheme,
		networking.AddToScheme, networkingv1conversion.AddToScheme,
		node.AddToScheme, nodev1conversion.AddToScheme,
		scheduling.AddToScheme, schedulingv1conversion.AddToScheme,
		storage.AddToScheme, storagev1conversion.AddToScheme,
		rbac.AddToScheme, rbacv1conversion.AddToScheme,
		certificates.AddToScheme, certificatesv1conversion.AddToScheme,
		flowcontrol.AddToScheme, flowcontrolv1conversion.AddToScheme,
		coordination.AddToScheme, coordinationv1conversion.AddToScheme,
		apiextensions.AddToScheme, apiextensionsv1.AddToScheme,
		apiregistration.AddToScheme, apiregistrationv1.AddToScheme,
		autoscaling.AddToScheme, autoscalingv1conversion.AddToScheme, autoscalingv2conversion.AddToScheme,
		eventsinternal.AddToScheme, eventsv1conversion.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
})

// internal converts obj to Kubernetes' internal type. The result shares memory with obj. A failure is a
// missing registration above.
func internal[I any](obj any) *I {
	if b, ok := obj.(*policyv1.PodDisruptionBudget); ok {
		obj = b.DeepCopy() // this conversion writes into its argument
	}
	in := new(I)
	if err := converter().Convert(obj, in, nil); err != nil {
		panic(fmt.Sprintf("convert %T to %T: %v", obj, in, err))
	}
	return in
}

// toExternal is the reverse of internal.
func toExternal(in, out any) {
	if err := converter().Convert(in, out, nil); err != nil {
		panic(fmt.Sprintf("convert %T to %T: %v", in, out, err))
	}
}

// through lets change work on obj in its internal type, beside old, and takes the result back. change
// may be nil: the round trip alone fills the fields that Kubernetes derives from
// others. old may be nil.
func through[I, E any, P interface {
	*E
	runtime.Object
}](obj, old P, change func(obj, old *I)) {
	in := internal[I](obj)
	if change != nil {
		var inOld *I
		if old != nil {
			inOld = internal[I](old)
		}
		change(in, inOld)
	}
	fresh := P(new(E))
	toExternal(in, fresh)
	fresh.GetObjectKind().SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
	*obj = *fresh
}

// derived is a Kind's Derive for types that Kubernetes' conversion does not leave as they are.
func derived[I, E any, P interface {
	*E
	Object
}]() func(Object) {
	return func(obj Object) { through[I, E](obj.(P), nil, nil) }
}

// validate and validateUpdate make validation of an internal type one of the external.
func validate[I any](f func(*I) field.ErrorList) func(Object) field.ErrorList {
	return func(obj Object) field.ErrorList { return f(internal[I](obj)) }
}

func validateUpdate[I any](f func(obj, old *I) field.ErrorList) func(obj, old Object) field.ErrorList {
	return func(obj, old Object) field.ErrorList { return f(internal[I](obj), internal[I](old)) }
}

// validateBoth is validateUpdate for kinds whose update must also be valid by itself.
func validateBoth[I any](f func(*I) field.ErrorList, g func(obj, old *I) field.ErrorList) func(obj, old Object) field.ErrorList {
	return validateUpdate(func(obj, old *I) field.ErrorList { return append(f(obj), g(obj, old)...) })
}
