package customresource

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/resource/definition"
)

// decide sets the status of a definition: the names that it has among the definitions of its group, whether it is
// served, and what is wrong with it.
func decide(d *crd, group []*crd) {
	accept(d, taken(d, group))
	approve(d)
	structure(d)
}

// used are the names that others of the group have.
type used struct{ resources, kinds map[string]bool }

func taken(d *crd, group []*crd) used {
	u := used{map[string]bool{}, map[string]bool{}}
	for _, other := range group {
		if other.Name == d.Name {
			continue
		}
		n := other.Status.AcceptedNames
		for _, name := range append([]string{n.Plural, n.Singular}, n.ShortNames...) {
			u.resources[name] = true
		}
		u.kinds[n.Kind], u.kinds[n.ListKind] = true, true
	}
	return u
}

// accept takes over the names that are free. A definition is served once all of them were.
func accept(d *crd, u used) {
	names := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found",
	}
	want, have := &d.Spec.Names, &d.Status.AcceptedNames
	free := func(reason string, in map[string]bool, wanted []string, had []string) bool {
		var errs []error
		for _, name := range wanted {
			if !slices.Contains(had, name) && in[name] {
				errs = append(errs, fmt.Errorf("%q is already in use", name))
			}
		}
		if err := errors.Join(errs...); err != nil {
			names.Status, names.Reason, names.Message = apiextensionsv1.ConditionFalse, reason, err.Error()
			return false
		}
		return true
	}
	one := func(reason string, in map[string]bool, wanted string, had *string) {
		if free(reason, in, []string{wanted}, []string{*had}) {
			*had = wanted
		}
	}
	one("PluralConflict", u.resources, want.Plural, &have.Plural)
	one("SingularConflict", u.resources, want.Singular, &have.Singular)
	if free("ShortNamesConflict", u.resources, want.ShortNames, have.ShortNames) {
		have.ShortNames = want.ShortNames
	}
	one("KindConflict", u.kinds, want.Kind, &have.Kind)
	one("ListKindConflict", u.kinds, want.ListKind, &have.ListKind)
	have.Categories = want.Categories
	resource.SetCRDCondition(d, names)
	establish(d, names.Status == apiextensionsv1.ConditionTrue)
}

func establish(d *crd, accepted bool) {
	if resource.CRDIs(d, apiextensionsv1.Established) {
		return // once served, always served
	}
	c := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted",
	}
	if accepted {
		c.Status, c.Reason, c.Message = apiextensionsv1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted"
	}
	resource.SetCRDCondition(d, c)
}

// approve says whether an API in a group of the Kubernetes project is one of the project.
func approve(d *crd) {
	if !definition.Protected(d.Spec.Group) {
		return
	}
	c := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant}
	state, message := definition.ApprovalOf(d.Annotations)
	c.Message = message
	switch state {
	case definition.Approved:
		c.Status, c.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case definition.Bypassed:
		c.Status, c.Reason = apiextensionsv1.ConditionFalse, "UnapprovedAnnotation"
	case definition.Missing:
		c.Status, c.Reason = apiextensionsv1.ConditionFalse, "MissingAnnotation"
	default:
		c.Status, c.Reason = apiextensionsv1.ConditionFalse, "InvalidAnnotation"
	}
	resource.SetCRDCondition(d, c)
}

// structure notes schemas that are not structural; there is no condition if all are.
func structure(d *crd) {
	d.Status.Conditions = slices.DeleteFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.NonStructuralSchema
	})
	if errs := nonStructural(d); len(errs) > 0 {
		resource.SetCRDCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{
			Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionTrue, Reason: "Violations", Message: errs.ToAggregate().Error(),
		})
	}
}

func nonStructural(d *crd) (errs field.ErrorList) {
	if d.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	for i, v := range d.Spec.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		at := field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema")
		in := &apiextensions.CustomResourceValidation{}
		if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, in, nil); err != nil {
			errs = append(errs, field.InternalError(at, err))
			continue
		}
		s, err := schema.NewStructural(in.OpenAPIV3Schema)
		if err != nil {
			errs = append(errs, field.Invalid(at, "", err.Error()))
			continue
		}
		errs = append(errs, schema.ValidateStructural(at, s)...)
	}
	return errs
}
