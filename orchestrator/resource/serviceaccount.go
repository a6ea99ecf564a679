package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func serviceAccounts() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Plural:              "serviceaccounts",
		Singular:            "serviceaccount",
		ShortNames:          []string{"sa"},
		Namespaced:          true,
		New:                 newObject[corev1.ServiceAccount],
		NewList:             newList[corev1.ServiceAccountList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(keepSecretNames),
		PrepareForUpdate: typedUpdate(func(sa, _ *corev1.ServiceAccount) { keepSecretNames(sa) }),
		Validate:         validate(validation.ValidateServiceAccount),
		ValidateUpdate:   validateUpdate(validation.ValidateServiceAccountUpdate),
		Warnings:         typedWarnings(serviceAccountWarnings),

		Columns: []metav1.TableColumnDefinition{nameColumn, ageColumn},
		Row:     row(func(sa *corev1.ServiceAccount) []any { return []any{sa.Name, age(sa)} }),
	}
}

// keepSecretNames drops everything of a reference but the name.
func keepSecretNames(sa *corev1.ServiceAccount) {
	for i, s := range sa.Secrets {
		sa.Secrets[i] = corev1.ObjectReference{Name: s.Name}
	}
}

func serviceAccountWarnings(sa, old *corev1.ServiceAccount) []string {
	const mountable = "kubernetes.io/enforce-mountable-secrets"
	if old != nil {
		if _, ok := old.Annotations[mountable]; ok {
			return nil
		}
	}
	if _, ok := sa.Annotations[mountable]; !ok {
		return nil
	}
	return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets", mountable)}
}
