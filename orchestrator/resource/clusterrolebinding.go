package resource

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"
)

func clusterRoleBindings() *Kind {
	return &Kind{
		GroupVersionKind:    rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"),
		Plural:              "clusterrolebindings",
		Singular:            "clusterrolebinding",
		New:                 newObject[rbacv1.ClusterRoleBinding],
		NewList:             newList[rbacv1.ClusterRoleBindingList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		Validate:       validate(validation.ValidateClusterRoleBinding),
		ValidateUpdate: validateUpdate(validation.ValidateClusterRoleBindingUpdate),

		Columns: bindingColumns("clusterRoleBinding", rbacv1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"]),
		Row:     row(func(b *rbacv1.ClusterRoleBinding) []any { return bindingRow(b, b.RoleRef, b.Subjects) }),
	}
}
