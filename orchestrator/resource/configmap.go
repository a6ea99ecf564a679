package resource

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func configMaps() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:              "configmaps",
		Singular:            "configmap",
		ShortNames:          []string{"cm"},
		Namespaced:          true,
		New:                 newObject[corev1.ConfigMap],
		NewList:             newList[corev1.ConfigMapList],
		UnconditionalUpdate: true,

		// Defaults give empty data to who has none, which is not how it is stored.
		PrepareForUpdate: typedUpdate(func(c, _ *corev1.ConfigMap) {
			if len(c.Data) == 0 {
				c.Data = nil
			}
		}),
		Validate:       validate(validation.ValidateConfigMap),
		ValidateUpdate: validateUpdate(validation.ValidateConfigMapUpdate),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Data", "string", corev1.ConfigMap{}.SwaggerDoc()["data"]),
			ageColumn,
		},
		Row: row(func(c *corev1.ConfigMap) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), age(c)}
		}),
	}
}
