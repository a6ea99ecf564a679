package resource

import (
	"context"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/resource/definition"
)

// CRDCleanup is the finalizer that keeps a definition until the objects of its kind are gone.
const CRDCleanup = apiextensionsv1.CustomResourceCleanupFinalizer

func customResourceDefinitions(convert Conversion) *Kind {
	return &Kind{
		GroupVersionKind:    apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"),
		Plural:              "customresourcedefinitions",
		Singular:            "customresourcedefinition",
		ShortNames:          []string{"crd", "crds"},
		Categories:          []string{"api-extensions"},
		New:                 newObject[apiextensionsv1.CustomResourceDefinition],
		NewList:             newList[apiextensionsv1.CustomResourceDefinitionList],
		UnconditionalUpdate: false,

		PrepareForCreate: typed(func(crd *apiextensionsv1.CustomResourceDefinition) {
			crd.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
			crd.Generation = 1
			noteStoredVersion(crd)
		}),
		PrepareForUpdate: typedUpdate(func(crd, old *apiextensionsv1.CustomResourceDefinition) {
			crd.Status = *old.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(crd.Spec, old.Spec) {
				crd.Generation = old.Generation + 1
			}
			noteStoredVersion(crd)
		}),
		Validate: validate(func(crd *apiextensions.CustomResourceDefinition) field.ErrorList {
			return definition.Validate(context.Background(), crd)
		}),
		ValidateUpdate: validateUpdate(func(crd, old *apiextensions.CustomResourceDefinition) field.ErrorList {
			return definition.ValidateUpdate(context.Background(), crd, old)
		}),
		Resets: resets(statusField),

		// The first request to delete puts the finalizer there; from then on finalizers hold it.
		Holds: func(obj Object) bool { return obj.GetDeletionTimestamp() == nil },
		Deleting: func(obj Object) {
			crd := obj.(*apiextensionsv1.CustomResourceDefinition)
			if !slices.Contains(crd.Finalizers, CRDCleanup) {
				crd.Finalizers = append(slices.Clone(crd.Finalizers), CRDCleanup)
			}
			SetCRDCondition(crd, apiextensionsv1.CustomResourceDefinitionCondition{
				Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: "InstanceDeletionPending",
				Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
			})
		},
		Defines: func(obj Object) []*Kind { return customKinds(obj.(*apiextensionsv1.CustomResourceDefinition), convert) },

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			{Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
		},
		Row: row(func(crd *apiextensionsv1.CustomResourceDefinition) []any {
			return []any{crd.Name, crd.CreationTimestamp.UTC().Format(time.RFC3339)}
		}),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(crd, old *apiextensionsv1.CustomResourceDefinition) {
					crd.Spec = *old.Spec.DeepCopy()
					managed := crd.ManagedFields
					crd.ObjectMeta = *old.ObjectMeta.DeepCopy()
					crd.ManagedFields = managed
				}),
				ValidateUpdate: validateUpdate(definition.ValidateStatus),
				Resets:         resets(specField, []any{"metadata"}),
			},
		},
	}
}

// noteStoredVersion notes that there are objects of the storage version from now on.
func noteStoredVersion(crd *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range crd.Spec.Versions {
		if v.Storage && !slices.Contains(crd.Status.StoredVersions, v.Name) {
			crd.Status.StoredVersions = append(crd.Status.StoredVersions, v.Name)
		}
	}
}

// SetCRDCondition sets a condition; its time changes with its status.
func SetCRDCondition(crd *apiextensionsv1.CustomResourceDefinition, c apiextensionsv1.CustomResourceDefinitionCondition) {
	c.LastTransitionTime = metav1.NewTime(time.Now().Truncate(time.Second))
	for i := range crd.Status.Conditions {
		if have := &crd.Status.Conditions[i]; have.Type == c.Type {
			if have.Status == c.Status && !have.LastTransitionTime.IsZero() {
				c.LastTransitionTime = have.LastTransitionTime
			}
			*have = c
			return
		}
	}
	crd.Status.Conditions = append(crd.Status.Conditions, c)
}

// CRDIs says whether a condition is true.
func CRDIs(crd *apiextensionsv1.CustomResourceDefinition, typ apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == typ && c.Status == apiextensionsv1.ConditionTrue
	})
}
