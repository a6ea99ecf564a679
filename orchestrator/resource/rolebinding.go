package resource

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"
)

func roleBindings() *Kind {
	return &Kind{
		GroupVersionKind:    rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
		Plural:              "rolebindings",
		Singular:            "rolebinding",
		Namespaced:          true,
		New:                 newObject[rbacv1.RoleBinding],
		NewList:             newList[rbacv1.RoleBindingList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		Validate:       validate(validation.ValidateRoleBinding),
		ValidateUpdate: validateUpdate(validation.ValidateRoleBindingUpdate),

		Columns: bindingColumns("roleBinding", rbacv1.RoleBinding{}.SwaggerDoc()["roleRef"]),
		Row:     row(func(b *rbacv1.RoleBinding) []any { return bindingRow(b, b.RoleRef, b.Subjects) }),
	}
}

// bindingColumns and bindingRow show both kinds of bindings.
func bindingColumns(kind, role string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Role", "string", role),
		ageColumn,
		wide("Users", "string", "Users in the "+kind),
		wide("Groups", "string", "Groups in the "+kind),
		wide("ServiceAccounts", "string", "ServiceAccounts in the "+kind),
	}
}

func bindingRow(obj Object, role rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{
		obj.GetName(), role.Kind + "/" + role.Name, age(obj),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
