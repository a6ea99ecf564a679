package resource

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	claimutil "k8s.io/kubernetes/pkg/api/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func persistentVolumeClaims() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"),
		Plural:              "persistentvolumeclaims",
		Singular:            "persistentvolumeclaim",
		ShortNames:          []string{"pvc"},
		Namespaced:          true,
		New:                 newObject[corev1.PersistentVolumeClaim],
		NewList:             newList[corev1.PersistentVolumeClaimList],
		UnconditionalUpdate: true,
		Inert:               "no volume is bound to it",

		PrepareForCreate: typed(func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{}
			through(c, nil, prepareClaim)
			c.Status.Phase = corev1.ClaimPending
		}),
		PrepareForUpdate: typedUpdate(func(c, old *corev1.PersistentVolumeClaim) {
			c.Status = *old.Status.DeepCopy()
			through(c, old, prepareClaim)
		}),
		Validate: validate(func(c *core.PersistentVolumeClaim) field.ErrorList {
			return validation.ValidatePersistentVolumeClaim(c, validation.ValidationOptionsForPersistentVolumeClaim(c, nil))
		}),
		ValidateUpdate: validateUpdate(func(c, old *core.PersistentVolumeClaim) field.ErrorList {
			old = old.DeepCopy()
			claimutil.NormalizeDataSources(&old.Spec)
			return validation.ValidatePersistentVolumeClaimUpdate(c, old, validation.ValidationOptionsForPersistentVolumeClaim(c, old))
		}),
		Warnings: typedWarnings(claimWarnings),
		Resets:   resets(statusField),

		Fields:     func(obj Object) fields.Set { return fields.Set{"name": obj.GetName()} },
		FieldNames: []string{"name"},
		Columns:    persistentVolumeClaimColumns(),
		Row:        row(persistentVolumeClaimRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(c, old *corev1.PersistentVolumeClaim) {
				c.Spec = *old.Spec.DeepCopy()
				through(c, old, claimutil.DropDisabledFieldsFromStatus)
			}),
			ValidateUpdate: validateUpdate(func(c, old *core.PersistentVolumeClaim) field.ErrorList {
				return validation.ValidatePersistentVolumeClaimStatusUpdate(c, old, validation.ValidationOptionsForPersistentVolumeClaim(c, old))
			}),
			Warnings: typedWarnings(claimWarnings),
			Resets:   resets(specField),
		}},
	}
}

func claimWarnings(c, _ *corev1.PersistentVolumeClaim) []string {
	return claimutil.GetWarningsForPersistentVolumeClaim(internal[core.PersistentVolumeClaim](c))
}

// prepareClaim keeps dataSource and dataSourceRef alike; old may be nil.
func prepareClaim(c, old *core.PersistentVolumeClaim) {
	var was *core.PersistentVolumeClaimSpec
	if old != nil {
		was = &old.Spec
	}
	claimutil.DropDisabledFields(&c.Spec, was)
	claimutil.EnforceDataSourceBackwardsCompatibility(&c.Spec, was)
	claimutil.NormalizeDataSources(&c.Spec)
}

func persistentVolumeClaimColumns() []metav1.TableColumnDefinition {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Status", "string", status["phase"]),
		column("Volume", "string", spec["volumeName"]),
		column("Capacity", "string", status["capacity"]),
		column("Access Modes", "string", status["accessModes"]),
		column("StorageClass", "string", "StorageClass of the pvc"),
		column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc"),
		ageColumn,
		wide("VolumeMode", "string", spec["volumeMode"]),
	}
}

func persistentVolumeClaimRow(c *corev1.PersistentVolumeClaim) []any {
	phase, capacity, modes := string(c.Status.Phase), "", ""
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	if c.Spec.VolumeName != "" {
		size := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = size.String(), accessModes(c.Status.AccessModes)
	}
	class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]
	if name := c.Spec.StorageClassName; !ok && name != nil {
		class = *name
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, class, orUnset(c.Spec.VolumeAttributesClassName), age(c), orUnset(c.Spec.VolumeMode),
	}
}
