package resource

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/networking/validation"
)

// serviceCIDRs are blocks of cluster IPs. The one named kubernetes says what the control plane was started with.
func serviceCIDRs() *Kind {
	return &Kind{
		GroupVersionKind:    networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"),
		Plural:              "servicecidrs",
		Singular:            "servicecidr",
		New:                 newObject[networkingv1.ServiceCIDR],
		NewList:             newList[networkingv1.ServiceCIDRList],
		UnconditionalUpdate: true,
		Inert:               "cluster IPs come from the block that the server was started with",

		PrepareForCreate: typed(func(c *networkingv1.ServiceCIDR) { c.Status = networkingv1.ServiceCIDRStatus{} }),
		PrepareForUpdate: typedUpdate(func(c, old *networkingv1.ServiceCIDR) { c.Status = *old.Status.DeepCopy() }),
		Validate:         validate(validation.ValidateServiceCIDR),
		ValidateUpdate:   validateUpdate(validation.ValidateServiceCIDRUpdate),
		Resets:           resets(statusField),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("CIDRs", "string", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"]),
			ageColumn,
		},
		Row: row(func(c *networkingv1.ServiceCIDR) []any { return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), age(c)} }),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(c, old *networkingv1.ServiceCIDR) {
				c.Spec = *old.Spec.DeepCopy()
				metav1.ResetObjectMetaForStatus(c, old)
			}),
			ValidateUpdate: validateUpdate(validation.ValidateServiceCIDRStatusUpdate),
			Resets:         resets(specField, metadataField),
		}},
	}
}
