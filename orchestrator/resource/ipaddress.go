package resource

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/networking/validation"
)

// ManagedByAllocator is the value of the label ipaddress.kubernetes.io/managed-by on addresses that tell of a
// Service's cluster IP. The Service holds the address; others hold theirs themselves, so that no Service gets it.
const ManagedByAllocator = "ipallocator.k8s.io"

func ipAddresses() *Kind {
	return &Kind{
		GroupVersionKind:    networkingv1.SchemeGroupVersion.WithKind("IPAddress"),
		Plural:              "ipaddresses",
		Singular:            "ipaddress",
		ShortNames:          []string{"ip"},
		New:                 newObject[networkingv1.IPAddress],
		NewList:             newList[networkingv1.IPAddressList],
		UnconditionalUpdate: true,

		Validate:       validate(validation.ValidateIPAddress),
		ValidateUpdate: validateBoth(validation.ValidateIPAddress, validation.ValidateIPAddressUpdate),

		Claims: ipAddressClaims,
		Allocate: func(obj, old Object, taken func(string) bool) error {
			for _, claim := range ipAddressClaims(obj) {
				if old == nil && taken(claim) {
					return errors.NewAlreadyExists(schema.GroupResource{Group: networkingv1.GroupName, Resource: "ipaddresses"}, obj.GetName())
				}
			}
			return nil
		},

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("ParentRef", "string", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]),
		},
		Row: row(func(a *networkingv1.IPAddress) []any { return []any{a.Name, ipAddressParent(a.Spec.ParentRef)} }),
	}
}

func ipAddressClaims(obj Object) []string {
	if obj.GetLabels()[networkingv1.LabelManagedBy] == ManagedByAllocator {
		return nil
	}
	return []string{clusterIPClaim(obj.GetName())}
}

func ipAddressParent(ref *networkingv1.ParentReference) string {
	if ref == nil {
		return "<none>"
	}
	parent := strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())
	if ref.Namespace != "" {
		parent += "/" + ref.Namespace
	}
	return parent + "/" + ref.Name
}
