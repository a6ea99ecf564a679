package resource

import (
	"crypto/tls"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func secrets() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("Secret"),
		Plural:              "secrets",
		Singular:            "secret",
		Namespaced:          true,
		New:                 newObject[corev1.Secret],
		NewList:             newList[corev1.SecretList],
		UnconditionalUpdate: true,

		Derive: derived[core.Secret, corev1.Secret](), // stringData becomes data
		PrepareForUpdate: typedUpdate(func(s, old *corev1.Secret) {
			if s.Type == "" {
				s.Type = old.Type
			}
		}),
		Validate:       validate(validation.ValidateSecret),
		ValidateUpdate: validateUpdate(validation.ValidateSecretUpdate),
		Warnings:       typedWarnings(func(s, _ *corev1.Secret) []string { return secretWarnings(s) }),

		Fields: func(obj Object) fields.Set {
			return fields.Set{"type": string(obj.(*corev1.Secret).Type)}
		},
		FieldNames: []string{"type"},
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Type", "string", corev1.Secret{}.SwaggerDoc()["type"]),
			column("Data", "string", corev1.Secret{}.SwaggerDoc()["data"]),
			ageColumn,
		},
		Row: row(func(s *corev1.Secret) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s)}
		}),
	}
}

func secretWarnings(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}
