package resource

import (
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

func volumeAttachments() *Kind {
	return &Kind{
		GroupVersionKind: storagev1.SchemeGroupVersion.WithKind("VolumeAttachment"),
		Plural:           "volumeattachments",
		Singular:         "volumeattachment",
		New:              newObject[storagev1.VolumeAttachment],
		NewList:          newList[storagev1.VolumeAttachmentList],
		Inert:            "no node attaches the volume",

		PrepareForCreate: typed(func(a *storagev1.VolumeAttachment) { a.Status = storagev1.VolumeAttachmentStatus{} }),
		PrepareForUpdate: typedUpdate(func(a, old *storagev1.VolumeAttachment) { a.Status = *old.Status.DeepCopy() }),
		Validate:         validate(validation.ValidateVolumeAttachment),
		ValidateUpdate:   validateUpdate(validation.ValidateVolumeAttachmentUpdate),
		Resets:           resets(statusField),

		Columns: volumeAttachmentColumns(),
		Row:     row(volumeAttachmentRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(a, old *storagev1.VolumeAttachment) {
				a.Spec = *old.Spec.DeepCopy()
				metav1.ResetObjectMetaForStatus(a, old)
			}),
			Resets: resets(specField, metadataField),
		}},
	}
}

func volumeAttachmentColumns() []metav1.TableColumnDefinition {
	spec := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	attacher := column("Attacher", "string", spec["attacher"])
	attacher.Format = "name"
	return []metav1.TableColumnDefinition{
		nameColumn,
		attacher,
		column("PV", "string", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"]),
		column("Node", "string", spec["nodeName"]),
		column("Attached", "boolean", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"]),
		ageColumn,
	}
}

func volumeAttachmentRow(a *storagev1.VolumeAttachment) []any {
	volume := ""
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		volume = *name
	}
	return []any{a.Name, a.Spec.Attacher, volume, a.Spec.NodeName, a.Status.Attached, age(a)}
}
