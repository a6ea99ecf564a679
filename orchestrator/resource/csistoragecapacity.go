package resource

import (
	storagev1 "k8s.io/api/storage/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	storageutil "k8s.io/kubernetes/pkg/api/storage"
	"k8s.io/kubernetes/pkg/apis/storage"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

func csiStorageCapacities() *Kind {
	return &Kind{
		GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("CSIStorageCapacity"),
		Plural:           "csistoragecapacities",
		Singular:         "csistoragecapacity",
		Namespaced:       true,
		New:              newObject[storagev1.CSIStorageCapacity],
		NewList:          newList[storagev1.CSIStorageCapacityList],
		Inert:            "the scheduler does not ask it",

		Validate: validate(func(c *storage.CSIStorageCapacity) field.ErrorList {
			return validation.ValidateCSIStorageCapacity(c, validation.CSIStorageCapacityValidateOptions{})
		}),
		ValidateUpdate: validateUpdate(func(c, old *storage.CSIStorageCapacity) field.ErrorList {
			o := validation.CSIStorageCapacityValidateOptions{
				AllowInvalidLabelValueInSelector: metav1validation.LabelSelectorHasInvalidLabelValue(old.NodeTopology),
			}
			return append(validation.ValidateCSIStorageCapacity(c, o), validation.ValidateCSIStorageCapacityUpdate(c, old)...)
		}),
		Warnings: typedWarnings(func(c, _ *storagev1.CSIStorageCapacity) []string {
			return storageutil.GetWarningsForCSIStorageCapacity(internal[storage.CSIStorageCapacity](c))
		}),
	}
}
