package resource

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/rbac"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"
)

func clusterRoles() *Kind {
	return &Kind{
		GroupVersionKind:    rbacv1.SchemeGroupVersion.WithKind("ClusterRole"),
		Plural:              "clusterroles",
		Singular:            "clusterrole",
		New:                 newObject[rbacv1.ClusterRole],
		NewList:             newList[rbacv1.ClusterRoleList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		Validate: validate(func(r *rbac.ClusterRole) field.ErrorList {
			return validation.ValidateClusterRole(r, validation.ClusterRoleValidationOptions{})
		}),
		ValidateUpdate: validateUpdate(func(r, old *rbac.ClusterRole) field.ErrorList {
			o := validation.ClusterRoleValidationOptions{AllowInvalidLabelValueInSelector: aggregatesInvalid(old)}
			return validation.ValidateClusterRoleUpdate(r, old, o)
		}),
	}
}

// aggregatesInvalid says that a selector has a value that labels cannot have.
func aggregatesInvalid(r *rbac.ClusterRole) bool {
	if r.AggregationRule == nil {
		return false
	}
	for _, s := range r.AggregationRule.ClusterRoleSelectors {
		if metav1validation.LabelSelectorHasInvalidLabelValue(&s) {
			return true
		}
	}
	return false
}
