package resource

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"
)

func roles() *Kind {
	return &Kind{
		GroupVersionKind:    rbacv1.SchemeGroupVersion.WithKind("Role"),
		Plural:              "roles",
		Singular:            "role",
		Namespaced:          true,
		New:                 newObject[rbacv1.Role],
		NewList:             newList[rbacv1.RoleList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		Validate:       validate(validation.ValidateRole),
		ValidateUpdate: validateUpdate(validation.ValidateRoleUpdate),
	}
}
