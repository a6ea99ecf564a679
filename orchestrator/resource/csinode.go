package resource

import (
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

func csiNodes() *Kind {
	return &Kind{
		GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("CSINode"),
		Plural:           "csinodes",
		Singular:         "csinode",
		New:              newObject[storagev1.CSINode],
		NewList:          newList[storagev1.CSINodeList],
		Inert:            "no driver is asked",

		Validate:       validate(validation.ValidateCSINode),
		ValidateUpdate: validateUpdate(validation.ValidateCSINodeUpdate),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Drivers", "integer", "Drivers indicates the number of CSI drivers registered on the node"),
			ageColumn,
		},
		Row: row(func(n *storagev1.CSINode) []any { return []any{n.Name, int64(len(n.Spec.Drivers)), age(n)} }),
	}
}
