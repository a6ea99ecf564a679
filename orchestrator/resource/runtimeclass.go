package resource

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	nodeutil "k8s.io/kubernetes/pkg/api/node"
	"k8s.io/kubernetes/pkg/apis/node"
	"k8s.io/kubernetes/pkg/apis/node/validation"
)

func runtimeClasses() *Kind {
	return &Kind{
		GroupVersionKind:    nodev1.SchemeGroupVersion.WithKind("RuntimeClass"),
		Plural:              "runtimeclasses",
		Singular:            "runtimeclass",
		New:                 newObject[nodev1.RuntimeClass],
		NewList:             newList[nodev1.RuntimeClassList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: false,

		Validate:       validate(validation.ValidateRuntimeClass),
		ValidateUpdate: validateBoth(validation.ValidateRuntimeClass, validation.ValidateRuntimeClassUpdate),
		Warnings: typedWarnings(func(c, _ *nodev1.RuntimeClass) []string {
			return nodeutil.GetWarningsForRuntimeClass(internal[node.RuntimeClass](c))
		}),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Handler", "string", ""),
			ageColumn,
		},
		Row: row(func(c *nodev1.RuntimeClass) []any { return []any{c.Name, c.Handler, age(c)} }),
	}
}
