package resource

import (
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

func volumeAttributesClasses() *Kind {
	return &Kind{
		GroupVersionKind:    storagev1.SchemeGroupVersion.WithKind("VolumeAttributesClass"),
		Plural:              "volumeattributesclasses",
		Singular:            "volumeattributesclass",
		ShortNames:          []string{"vac"},
		New:                 newObject[storagev1.VolumeAttributesClass],
		NewList:             newList[storagev1.VolumeAttributesClassList],
		UnconditionalUpdate: true,
		Inert:               "no volume is changed",

		Validate:       validate(validation.ValidateVolumeAttributesClass),
		ValidateUpdate: validateUpdate(validation.ValidateVolumeAttributesClassUpdate),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("DriverName", "string", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"]),
			ageColumn,
		},
		Row: row(func(c *storagev1.VolumeAttributesClass) []any { return []any{c.Name, c.DriverName, age(c)} }),
	}
}
