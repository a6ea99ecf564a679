package customresource

import (
	"context"
	"fmt"
	"math"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	genericvalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apimachineryschema "k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

// Validator judges objects of one version.
type Validator struct {
	Schema     *Schema
	Kind       apimachineryschema.GroupVersionKind
	Namespaced bool
	Scale      *apiextensionsv1.CustomResourceSubresourceScale // nil: none
}

// Create judges a new object.
func (v *Validator) Create(ctx context.Context, u *unstructured.Unstructured) field.ErrorList {
	if errs := v.typeMeta(u); len(errs) > 0 {
		return errs
	}
	l := v.Schema.load()
	errs := genericvalidation.ValidateObjectMetaAccessor(u, v.Namespaced, genericvalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResource(nil, u.Object, l.whole)...)
	errs = append(errs, v.scaleSpec(u)...)
	errs = append(errs, v.scaleStatus(u)...)
	errs = append(errs, objectmeta.Validate(nil, u.Object, l.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, l.structural, u.Object)...)
	return append(errs, v.rules(ctx, errs, u.Object, nil)...)
}

// Update judges a changed object. Where nothing changed, what was invalid before may stay.
func (v *Validator) Update(ctx context.Context, u, old *unstructured.Unstructured) field.ErrorList {
	if errs := v.typeMeta(u); len(errs) > 0 {
		return errs
	}
	l := v.Schema.load()
	correlated := l.correlate(u, old)
	errs := genericvalidation.ValidateObjectMetaAccessorUpdate(u, old, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResourceUpdate(nil, u.Object, old.Object, l.whole, validation.WithRatcheting(correlated))...)
	errs = append(errs, v.scaleSpec(u)...)
	errs = append(errs, v.scaleStatus(u)...)
	errs = append(errs, objectmeta.Validate(nil, u.Object, l.structural, false)...)
	errs = append(errs, l.lists(u, old)...)
	return append(errs, v.rules(ctx, errs, u.Object, old.Object, cel.WithRatcheting(correlated))...)
}

// UpdateStatus judges what was written through the status subresource.
func (v *Validator) UpdateStatus(ctx context.Context, u, old *unstructured.Unstructured) field.ErrorList {
	if errs := v.typeMeta(u); len(errs) > 0 {
		return errs
	}
	l := v.Schema.load()
	correlated := l.correlate(u, old)
	errs := genericvalidation.ValidateObjectMetaAccessorUpdate(u, old, field.NewPath("metadata"))
	if status, ok := u.Object["status"]; ok {
		var options []validation.ValidationOption
		if l.structural != nil {
			options = append(options, validation.WithRatcheting(correlated.Key("status")))
		}
		errs = append(errs, validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, old.Object["status"], l.status, options...)...)
	}
	errs = append(errs, v.scaleStatus(u)...)
	errs = append(errs, l.lists(u, old)...)
	return append(errs, v.rules(ctx, errs, u.Object, old.Object, cel.WithRatcheting(correlated))...)
}

func (l *loaded) correlate(u, old *unstructured.Unstructured) *common.CorrelatedObject {
	return common.NewCorrelatedObject(u.Object, old.Object, &model.Structural{Structural: l.structural})
}

// lists judges sets and maps in lists, unless they were wrong before.
func (l *loaded) lists(u, old *unstructured.Unstructured) field.ErrorList {
	errs := listtype.ValidateListSetsAndMaps(nil, l.structural, u.Object)
	if len(errs) > 0 && len(listtype.ValidateListSetsAndMaps(nil, l.structural, old.Object)) > 0 {
		return nil
	}
	return errs
}

// rules evaluates x-kubernetes-validations, unless errors were found that make them meaningless.
func (v *Validator) rules(ctx context.Context, found field.ErrorList, obj, old map[string]any, options ...cel.Option) field.ErrorList {
	rules := v.Schema.rules()
	if rules == nil {
		return nil
	}
	for _, err := range found {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return field.ErrorList{field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
		}
	}
	var before any
	if old != nil {
		before = old
	}
	errs, _ := rules.Validate(ctx, nil, v.Schema.load().structural, obj, before, celconfig.RuntimeCELCostBudget, options...)
	return errs
}

func (v *Validator) typeMeta(u *unstructured.Unstructured) (errs field.ErrorList) {
	if kind := u.GetKind(); kind != v.Kind.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), kind, "must be "+v.Kind.Kind))
	}
	if version, want := u.GetAPIVersion(), v.Kind.GroupVersion().String(); version != want {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), version, "must be "+want))
	}
	return errs
}

func (v *Validator) scaleSpec(u *unstructured.Unstructured) field.ErrorList {
	if v.Scale == nil {
		return nil
	}
	return replicas(u, v.Scale.SpecReplicasPath)
}

func (v *Validator) scaleStatus(u *unstructured.Unstructured) field.ErrorList {
	if v.Scale == nil {
		return nil
	}
	errs := replicas(u, v.Scale.StatusReplicasPath)
	if path := v.Scale.LabelSelectorPath; path != nil {
		selector, _, err := unstructured.NestedString(u.Object, split(*path)...)
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*path), selector, err.Error()))
		}
	}
	return errs
}

func replicas(u *unstructured.Unstructured, path string) field.ErrorList {
	n, _, err := unstructured.NestedInt64(u.Object, split(path)...)
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case n < 0:
		why = "should be a non-negative integer"
	case n > math.MaxInt32:
		why = fmt.Sprintf("should be less than or equal to %v", math.MaxInt32)
	default:
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath(path), n, why)}
}

// split are the fields of a path with nothing but fields.
func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// Warnings are about finalizers that obj has and old, which may be nil, has not.
func Warnings(u, old *unstructured.Unstructured) (warnings []string) {
	before := map[string]bool{metav1.FinalizerOrphanDependents: true, metav1.FinalizerDeleteDependents: true, "kubernetes": true}
	if old != nil {
		for _, f := range old.GetFinalizers() {
			before[f] = true
		}
	}
	for _, f := range u.GetFinalizers() {
		if before[f] {
			continue
		}
		for _, why := range utilvalidation.IsQualifiedName(f) {
			warnings = append(warnings, fmt.Sprintf("metadata.finalizers: %q: %s", f, why))
		}
		switch {
		case strings.Contains(f, "/"):
		case strings.Contains(f, "."):
			warnings = append(warnings, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers", f))
		default:
			warnings = append(warnings, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers", f))
		}
	}
	return warnings
}
