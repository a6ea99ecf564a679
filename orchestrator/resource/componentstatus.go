//lint:file-ignore SA1019 ComponentStatuses are served as long as clients ask for them.

package resource

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// componentStatuses are not stored: the apiserver makes them when it is asked.
func componentStatuses() *Kind {
	return &Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ComponentStatus"),
		Plural:           "componentstatuses",
		Singular:         "componentstatus",
		ShortNames:       []string{"cs"},
		Verbs:            []string{"get", "list"},
		New:              newObject[corev1.ComponentStatus],
		NewList:          newList[corev1.ComponentStatusList],
		Deprecated:       "v1 ComponentStatus is deprecated in v1.19+",

		Validate:       func(Object) field.ErrorList { return nil },
		ValidateUpdate: func(_, _ Object) field.ErrorList { return nil },

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Status", "string", "Status of the component conditions"),
			column("Message", "string", "Message of the component conditions"),
			column("Error", "string", "Error of the component conditions"),
		},
		Row: row(componentStatusRow),
	}
}

func componentStatusRow(s *corev1.ComponentStatus) []any {
	for _, c := range s.Conditions {
		if c.Type != corev1.ComponentHealthy {
			continue
		}
		status := "Unhealthy"
		if c.Status == corev1.ConditionTrue {
			status = "Healthy"
		}
		return []any{s.Name, status, c.Message, c.Error}
	}
	return []any{s.Name, "Unknown", "", ""}
}
