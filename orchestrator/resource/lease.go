package resource

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/coordination/validation"
)

func leases() *Kind {
	return &Kind{
		GroupVersionKind: coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Plural:           "leases",
		Singular:         "lease",
		Namespaced:       true,
		New:              newObject[coordinationv1.Lease],
		NewList:          newList[coordinationv1.LeaseList],
		CreateOnUpdate:   true,

		PrepareForCreate: typed(func(l *coordinationv1.Lease) {
			l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil
		}),
		PrepareForUpdate: typedUpdate(func(l, old *coordinationv1.Lease) {
			if old.Spec.Strategy == nil {
				l.Spec.Strategy = nil
			}
			if old.Spec.PreferredHolder == nil {
				l.Spec.PreferredHolder = nil
			}
		}),
		Validate:       validate(validation.ValidateLease),
		ValidateUpdate: validateUpdate(validation.ValidateLeaseUpdate),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Holder", "string", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
			ageColumn,
		},
		Row: row(func(l *coordinationv1.Lease) []any {
			holder := ""
			if l.Spec.HolderIdentity != nil {
				holder = *l.Spec.HolderIdentity
			}
			return []any{l.Name, holder, age(l)}
		}),
	}
}
