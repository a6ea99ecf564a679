package resource

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	schedulingdefaults "k8s.io/kubernetes/pkg/apis/scheduling/v1"
)

// Initial are cluster-scoped objects that every Kubernetes cluster has from its first moment, with their status: the two
// system priority classes, the block of cluster IPs, and what sorts requests to the API.
func Initial(o Options) []Object {
	o.setDefaults()
	all := []Object{serviceBlock(o)}
	for _, c := range schedulingdefaults.SystemPriorityClasses() {
		all = append(all, c)
	}
	for _, l := range append(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations...) {
		l = l.DeepCopy()
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, flowcontrolv1.AutoUpdateAnnotationKey, "true")
		all = append(all, l)
	}
	for _, f := range append(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas...) {
		f = f.DeepCopy()
		metav1.SetMetaDataAnnotation(&f.ObjectMeta, flowcontrolv1.AutoUpdateAnnotationKey, "true")
		f.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{{
			Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, LastTransitionTime: metav1.Now(), Reason: "Found",
			Message: `This FlowSchema references the PriorityLevelConfiguration object named "` + f.Spec.PriorityLevelConfiguration.Name + `" and it exists`,
		}}
		all = append(all, f)
	}
	return all
}

// serviceBlock is the ServiceCIDR that says where cluster IPs come from. Its finalizer keeps it while there are any.
func serviceBlock(o Options) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Finalizers: []string{"networking.k8s.io/service-cidr-finalizer"}},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{o.ServiceCIDR.String()}},
		Status: networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now(),
			Message: "Kubernetes default Service CIDR is ready",
		}}},
	}
}
