package resource

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	volumeutil "k8s.io/kubernetes/pkg/api/persistentvolume"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	volumevalidation "k8s.io/kubernetes/pkg/volume/validation"
)

func persistentVolumes() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("PersistentVolume"),
		Plural:              "persistentvolumes",
		Singular:            "persistentvolume",
		ShortNames:          []string{"pv"},
		New:                 newObject[corev1.PersistentVolume],
		NewList:             newList[corev1.PersistentVolumeList],
		UnconditionalUpdate: true,
		Inert:               "no claim is bound to it and no node mounts it",

		PrepareForCreate: typed(func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{}
			through(v, nil, func(v, _ *core.PersistentVolume) { volumeutil.DropDisabledSpecFields(&v.Spec, nil) })
			now := metav1.Now()
			v.Status.Phase, v.Status.LastPhaseTransitionTime = corev1.VolumePending, &now
		}),
		PrepareForUpdate: typedUpdate(func(v, old *corev1.PersistentVolume) {
			v.Status = *old.Status.DeepCopy()
			through(v, old, func(v, old *core.PersistentVolume) { volumeutil.DropDisabledSpecFields(&v.Spec, &old.Spec) })
		}),
		Validate: validate(func(v *core.PersistentVolume) field.ErrorList {
			return append(validation.ValidatePersistentVolume(v, validation.ValidationOptionsForPersistentVolume(v, nil)),
				volumevalidation.ValidatePersistentVolume(v)...)
		}),
		ValidateUpdate: validateUpdate(func(v, old *core.PersistentVolume) field.ErrorList {
			o := validation.ValidationOptionsForPersistentVolume(v, old)
			errs := append(validation.ValidatePersistentVolume(v, o), volumevalidation.ValidatePersistentVolume(v)...)
			return append(errs, validation.ValidatePersistentVolumeUpdate(v, old, o)...)
		}),
		Warnings: typedWarnings(persistentVolumeWarnings),
		Resets:   resets(statusField),

		Fields:     func(obj Object) fields.Set { return fields.Set{"name": obj.GetName()} },
		FieldNames: []string{"name"},
		Columns:    persistentVolumeColumns(),
		Row:        row(persistentVolumeRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(preparePersistentVolumeStatus),
			ValidateUpdate:   validateUpdate(validation.ValidatePersistentVolumeStatusUpdate),
			Warnings:         typedWarnings(persistentVolumeWarnings),
			Resets:           resets(specField),
		}},
	}
}

func persistentVolumeWarnings(v, _ *corev1.PersistentVolume) []string {
	return volumeutil.GetWarningsForPersistentVolume(internal[core.PersistentVolume](v))
}

// preparePersistentVolumeStatus notes when the phase changed, unless the writer does.
func preparePersistentVolumeStatus(v, old *corev1.PersistentVolume) {
	v.Spec = *old.Spec.DeepCopy()
	at, was := v.Status.LastPhaseTransitionTime, old.Status.LastPhaseTransitionTime
	switch same := v.Status.Phase == old.Status.Phase; {
	case same && at == nil:
		v.Status.LastPhaseTransitionTime = was.DeepCopy()
	case !same && (at == nil || at.Equal(was)):
		now := metav1.Now()
		v.Status.LastPhaseTransitionTime = &now
	}
}

func persistentVolumeColumns() []metav1.TableColumnDefinition {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Capacity", "string", spec["capacity"]),
		column("Access Modes", "string", spec["accessModes"]),
		column("Reclaim Policy", "string", spec["persistentVolumeReclaimPolicy"]),
		column("Status", "string", status["phase"]),
		column("Claim", "string", spec["claimRef"]),
		column("StorageClass", "string", "StorageClass of the pv"),
		column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv"),
		column("Reason", "string", status["reason"]),
		ageColumn,
		wide("VolumeMode", "string", spec["volumeMode"]),
	}
}

func persistentVolumeRow(v *corev1.PersistentVolume) []any {
	claim, phase := "", string(v.Status.Phase)
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class, ok := v.Annotations[corev1.BetaStorageClassAnnotation]
	if !ok {
		class = v.Spec.StorageClassName
	}
	capacity := v.Spec.Capacity[corev1.ResourceStorage]
	return []any{
		v.Name, capacity.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
		class, orUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason, age(v), orUnset(v.Spec.VolumeMode),
	}
}

// accessModes shortens the modes, in an order of its own.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	has := map[corev1.PersistentVolumeAccessMode]bool{}
	for _, m := range modes {
		has[m] = true
	}
	var short []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if has[m.mode] {
			short = append(short, m.short)
		}
	}
	return strings.Join(short, ",")
}

// orUnset shows an optional text.
func orUnset[T ~string](s *T) string {
	if s == nil {
		return "<unset>"
	}
	return string(*s)
}
