package resource

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/apis/apps/validation"
)

func controllerRevisions() *Kind {
	return &Kind{
		GroupVersionKind:    appsv1.SchemeGroupVersion.WithKind("ControllerRevision"),
		Plural:              "controllerrevisions",
		Singular:            "controllerrevision",
		Namespaced:          true,
		New:                 newObject[appsv1.ControllerRevision],
		NewList:             newList[appsv1.ControllerRevisionList],
		UnconditionalUpdate: true,

		Validate:       validate(validation.ValidateControllerRevisionCreate),
		ValidateUpdate: validateUpdate(validation.ValidateControllerRevisionUpdate),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Controller", "string", "Controller of the object"),
			column("Revision", "string", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]),
			ageColumn,
		},
		Row: row(func(r *appsv1.ControllerRevision) []any {
			return []any{r.Name, controllerCell(r), r.Revision, age(r)}
		}),
	}
}

// controllerCell names the controlling owner, as in daemonset.apps/web.
func controllerCell(obj Object) string {
	owner := metav1.GetControllerOf(obj)
	if owner == nil {
		return "<none>"
	}
	gvk := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)
	return strings.ToLower(gvk.GroupKind().String()) + "/" + owner.Name
}
