package resource

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

func csiDrivers() *Kind {
	return &Kind{
		GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("CSIDriver"),
		Plural:           "csidrivers",
		Singular:         "csidriver",
		New:              newObject[storagev1.CSIDriver],
		NewList:          newList[storagev1.CSIDriverList],
		Inert:            "no node talks to it",

		// preventPodSchedulingIfMissing belongs to a feature that Kubernetes 1.36 does not have on by default.
		PrepareForCreate: typed(func(d *storagev1.CSIDriver) { d.Spec.PreventPodSchedulingIfMissing = nil }),
		PrepareForUpdate: typedUpdate(func(d, old *storagev1.CSIDriver) {
			if old.Spec.PreventPodSchedulingIfMissing == nil {
				d.Spec.PreventPodSchedulingIfMissing = nil
			}
			if !equality.Semantic.DeepEqual(d.Spec, old.Spec) {
				d.Generation = old.Generation + 1
			}
		}),
		Validate:       validate(validation.ValidateCSIDriver),
		ValidateUpdate: validateUpdate(validation.ValidateCSIDriverUpdate),
		Warnings: typedWarnings(func(d, old *storagev1.CSIDriver) []string {
			same := old != nil && equality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests)
			if same || len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil {
				return nil
			}
			return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
		}),

		Columns: csiDriverColumns(),
		Row:     row(csiDriverRow),
	}
}

func csiDriverColumns() []metav1.TableColumnDefinition {
	spec := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("AttachRequired", "boolean", spec["attachRequired"]),
		column("PodInfoOnMount", "boolean", spec["podInfoOnMount"]),
		column("StorageCapacity", "boolean", spec["storageCapacity"]),
		column("TokenRequests", "string", spec["tokenRequests"]),
		column("RequiresRepublish", "boolean", spec["requiresRepublish"]),
		column("Modes", "string", spec["volumeLifecycleModes"]),
		ageColumn,
	}
}

func csiDriverRow(d *storagev1.CSIDriver) []any {
	is := func(b *bool) bool { return b != nil && *b }
	tokens := "<unset>"
	if d.Spec.TokenRequests != nil {
		var audiences []string
		for _, t := range d.Spec.TokenRequests {
			audiences = append(audiences, t.Audience)
		}
		tokens = strings.Join(audiences, ",")
	}
	var modes []string
	for _, m := range d.Spec.VolumeLifecycleModes {
		modes = append(modes, string(m))
	}
	return []any{
		d.Name, d.Spec.AttachRequired == nil || *d.Spec.AttachRequired, is(d.Spec.PodInfoOnMount), is(d.Spec.StorageCapacity),
		tokens, is(d.Spec.RequiresRepublish), orNone(strings.Join(modes, ",")), age(d),
	}
}
