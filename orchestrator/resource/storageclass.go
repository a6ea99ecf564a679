package resource

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storageutil "k8s.io/kubernetes/pkg/api/storage"
	"k8s.io/kubernetes/pkg/apis/storage"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

func storageClasses() *Kind {
	return &Kind{
		GroupVersionKind:    storagev1.SchemeGroupVersion.WithKind("StorageClass"),
		Plural:              "storageclasses",
		Singular:            "storageclass",
		ShortNames:          []string{"sc"},
		New:                 newObject[storagev1.StorageClass],
		NewList:             newList[storagev1.StorageClassList],
		UnconditionalUpdate: true,
		Inert:               "no volumes are made for claims",

		Validate:       validate(validation.ValidateStorageClass),
		ValidateUpdate: validateBoth(validation.ValidateStorageClass, validation.ValidateStorageClassUpdate),
		Warnings: typedWarnings(func(c, _ *storagev1.StorageClass) []string {
			return storageutil.GetWarningsForStorageClass(internal[storage.StorageClass](c))
		}),

		Columns: storageClassColumns(),
		Row:     row(storageClassRow),
	}
}

func storageClassColumns() []metav1.TableColumnDefinition {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Provisioner", "string", doc["provisioner"]),
		column("ReclaimPolicy", "string", doc["reclaimPolicy"]),
		column("VolumeBindingMode", "string", doc["volumeBindingMode"]),
		column("AllowVolumeExpansion", "string", doc["allowVolumeExpansion"]),
		ageColumn,
	}
}

// Annotations that make a class the default; clusters that were upgraded have the older one.
const (
	defaultClassAnnotation     = "storageclass.kubernetes.io/is-default-class"
	defaultClassAnnotationBeta = "storageclass.beta.kubernetes.io/is-default-class"
)

func storageClassRow(c *storagev1.StorageClass) []any {
	name, reclaim, binding := c.Name, corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	if c.Annotations[defaultClassAnnotation] == "true" || c.Annotations[defaultClassAnnotationBeta] == "true" {
		name += " (default)"
	}
	if c.ReclaimPolicy != nil {
		reclaim = *c.ReclaimPolicy
	}
	if c.VolumeBindingMode != nil {
		binding = *c.VolumeBindingMode
	}
	return []any{name, c.Provisioner, string(reclaim), string(binding), c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion, age(c)}
}
