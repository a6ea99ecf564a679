package resource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"wherry/orchestrator/resource/customresource"
)

// Custom is what is different with kinds that objects define: their objects are *unstructured.Unstructured.
type Custom struct {
	// Schema describes the objects as OpenAPI 2 does if v2, else as OpenAPI 3. nil: they are anything. The result is
	// the caller's.
	Schema func(v2 bool) *spec.Schema
	// Coerce makes of anything that was decoded what decoding does of typed objects: metadata is read strictly, and
	// what the schema does not know is taken away and returned, as in spec.unknown. Errors: metadata that is
	// none. nil: everything is kept.
	Coerce func(obj *unstructured.Unstructured) (unknown []string, err error)
	// Preserve says that fields that the schema does not know are kept.
	Preserve bool
	// Mixed says that objects are stored in several versions: each keeps the apiVersion that it has.
	Mixed bool
	// Terminating says that the definition is being deleted: there are no new objects.
	Terminating bool
	// Hash is another one when the schema is.
	Hash string
	// ListKind is the kind of lists.
	ListKind string
}

// NewUnstructured makes field New of custom kinds, NewUnstructuredList NewList.
func NewUnstructured(gvk schema.GroupVersionKind) func() Object {
	return func() Object {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
}

// NewUnstructuredList is described at NewUnstructured.
func NewUnstructuredList(gvk schema.GroupVersionKind) func() runtime.Object {
	return func() runtime.Object {
		u := &unstructured.UnstructuredList{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
}

// customKinds are the kinds that a definition defines: one for each served version. If objects may be stored in more
// than the one version that is served, all of these are views, and what is stored is a kind of its own that is not served
// and whose objects are in any version.
func customKinds(crd *apiextensionsv1.CustomResourceDefinition, convert Conversion) []*Kind {
	if !CRDIs(crd, apiextensionsv1.NamesAccepted) && !CRDIs(crd, apiextensionsv1.Established) {
		return nil
	}
	m := &maker{crd: crd, names: crd.Status.AcceptedNames}
	var served []*Kind
	var stored *Kind
	versions := map[string]*Kind{} // by apiVersion, also those that are served no more
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		kind := m.kind(v)
		versions[kind.GroupVersion().String()] = kind
		if v.Storage {
			stored = kind
		}
		if v.Served {
			served = append(served, kind)
		}
	}
	if stored == nil {
		return nil
	}
	if len(served) == 1 && served[0] == stored && len(crd.Status.StoredVersions) == 1 {
		return served
	}
	raw := m.raw(stored)
	for _, kind := range served {
		kind.View = customView(kind, raw, stored, versions, converterOf(crd, convert))
	}
	return append([]*Kind{raw}, served...)
}

// maker makes the kinds of a definition.
type maker struct {
	crd   *apiextensionsv1.CustomResourceDefinition
	names apiextensionsv1.CustomResourceDefinitionNames
}

func (m *maker) kind(v *apiextensionsv1.CustomResourceDefinitionVersion) *Kind {
	gvk := schema.GroupVersionKind{Group: m.crd.Spec.Group, Version: v.Name, Kind: m.names.Kind}
	list := gvk.GroupVersion().WithKind(m.names.ListKind)
	s, err := customresource.New(v.Schema, m.crd.Spec.PreserveUnknownFields)
	if err != nil {
		s = &customresource.Schema{} // bytes that were just read can be written
	}
	columns := customresource.NewColumns(v.AdditionalPrinterColumns)
	k := &Kind{
		GroupVersionKind: gvk,
		Plural:           m.names.Plural, Singular: m.names.Singular, ShortNames: m.names.ShortNames, Categories: m.names.Categories,
		Namespaced: m.crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		New:        NewUnstructured(gvk), NewList: NewUnstructuredList(list),
		Default: func(obj Object) { s.Default(obj.(*unstructured.Unstructured)) },
		Decoded: func(obj Object) { readCustom(s, obj.(*unstructured.Unstructured)) },
		Columns: columns.Heads,
		Row:     func(obj Object) []any { return columns.Row(obj.(*unstructured.Unstructured)) },
		Custom: &Custom{
			Schema:      func(v2 bool) *spec.Schema { return s.OpenAPI(gvk, v2) },
			Coerce:      func(u *unstructured.Unstructured) ([]string, error) { return s.Coerce(u, false) },
			Preserve:    m.crd.Spec.PreserveUnknownFields,
			Terminating: CRDIs(m.crd, apiextensionsv1.Terminating),
			ListKind:    m.names.ListKind,
			Hash:        s.Hash(),
		},
	}
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		k.Custom.Schema = nil
	}
	if selectable, err := customresource.NewSelectable(v.SelectableFields); err == nil && len(selectable.Names) > 0 {
		k.FieldNames = selectable.Names
		k.Fields = customFields(selectable)
	}
	m.strategy(k, v, s)
	return k
}

// readCustom completes an object that was read from the store: the schema may have changed since it was written.
func readCustom(s *customresource.Schema, u *unstructured.Unstructured) {
	if _, err := s.Coerce(u, true); err != nil {
		return // it was stored, and is shown, as it is
	}
	if u.GetGeneration() == 0 {
		u.SetGeneration(1)
	}
	s.Default(u)
}

// strategy is what happens on writes.
func (m *maker) strategy(k *Kind, v *apiextensionsv1.CustomResourceDefinitionVersion, s *customresource.Schema) {
	doors := v.Subresources
	hasStatus := doors != nil && doors.Status != nil
	validator := &customresource.Validator{Schema: s, Kind: k.GroupVersionKind, Namespaced: k.Namespaced}
	if doors != nil {
		validator.Scale = doors.Scale
	}
	k.PrepareForCreate = custom(func(u *unstructured.Unstructured) {
		if hasStatus {
			delete(u.Object, "status")
		}
		u.SetGeneration(1)
	})
	k.PrepareForUpdate = customUpdate(func(u, old *unstructured.Unstructured) { prepareCustom(u, old, hasStatus) })
	k.Validate = func(obj Object) field.ErrorList {
		return validator.Create(context.Background(), obj.(*unstructured.Unstructured))
	}
	k.ValidateUpdate = func(obj, old Object) field.ErrorList {
		return validator.Update(context.Background(), obj.(*unstructured.Unstructured), old.(*unstructured.Unstructured))
	}
	k.Warnings = func(obj, old Object) []string {
		before, _ := old.(*unstructured.Unstructured)
		return customresource.Warnings(obj.(*unstructured.Unstructured), before)
	}
	k.Deprecated = m.deprecated(v)
	if doors == nil {
		return
	}
	k.Subresources = map[string]*Subresource{}
	if hasStatus {
		k.Resets = resets(statusField)
		k.Subresources["status"] = &Subresource{
			PrepareForUpdate: customUpdate(prepareCustomStatus),
			ValidateUpdate: func(obj, old Object) field.ErrorList {
				return validator.UpdateStatus(context.Background(), obj.(*unstructured.Unstructured), old.(*unstructured.Unstructured))
			},
			Resets: resets([]any{"metadata"}, specField),
		}
	}
	if doors.Scale != nil {
		k.Subresources["scale"] = &Subresource{Scale: customScale(doors.Scale)}
	}
}

// custom and customUpdate are typed and typedUpdate for unstructured objects.
func custom(f func(*unstructured.Unstructured)) func(Object) {
	return func(obj Object) { f(obj.(*unstructured.Unstructured)) }
}

func customUpdate(f func(u, old *unstructured.Unstructured)) func(obj, old Object) {
	return func(obj, old Object) { f(obj.(*unstructured.Unstructured), old.(*unstructured.Unstructured)) }
}

// prepareCustom keeps the status if it has a door of its own, and counts generations: everything but metadata matters.
func prepareCustom(u, old *unstructured.Unstructured, hasStatus bool) {
	if hasStatus {
		delete(u.Object, "status")
		if status, ok := old.Object["status"]; ok {
			u.Object["status"] = runtime.DeepCopyJSONValue(status)
		}
	}
	if !equality.Semantic.DeepEqual(withoutMetadata(u.Object), withoutMetadata(old.Object)) {
		u.SetGeneration(old.GetGeneration() + 1)
	}
}

func withoutMetadata(object map[string]any) map[string]any {
	rest := maps.Clone(object)
	delete(rest, "metadata")
	return rest
}

// prepareCustomStatus lets nothing but the status, and who owns it, change.
func prepareCustomStatus(u, old *unstructured.Unstructured) {
	status, ok := u.Object["status"]
	managed := u.GetManagedFields()
	u.Object = old.DeepCopy().Object
	u.SetManagedFields(managed)
	delete(u.Object, "status")
	if ok {
		u.Object["status"] = status
	}
}

func customScale(s *apiextensionsv1.CustomResourceSubresourceScale) *Scale {
	split := func(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }
	spec, status, selector := split(s.SpecReplicasPath), split(s.StatusReplicasPath), []string(nil)
	if s.LabelSelectorPath != nil && *s.LabelSelectorPath != "" {
		selector = split(*s.LabelSelectorPath)
	}
	var path fieldpath.Path
	for _, name := range spec {
		path = append(path, fieldpath.PathElement{FieldName: &name})
	}
	return &Scale{
		SpecPath: path,
		Replicas: func(obj Object) (int32, int32, string) {
			u := obj.(*unstructured.Unstructured).Object
			wanted, _, _ := unstructured.NestedInt64(u, spec...)
			have, _, _ := unstructured.NestedInt64(u, status...)
			text := ""
			if selector != nil {
				text, _, _ = unstructured.NestedString(u, selector...)
			}
			return int32(wanted), int32(have), text
		},
		Set: func(obj Object, replicas int32) {
			// What stands in the way is no object: validation says so.
			_ = unstructured.SetNestedField(obj.(*unstructured.Unstructured).Object, int64(replicas), spec...)
		},
	}
}

// deprecated is what users of a version are told; "": nothing.
func (m *maker) deprecated(v *apiextensionsv1.CustomResourceDefinitionVersion) string {
	switch {
	case !v.Deprecated:
		return ""
	case v.DeprecationWarning != nil:
		return *v.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", m.crd.Spec.Group, v.Name, m.crd.Spec.Names.Kind)
	var better []string
	for _, o := range m.crd.Spec.Versions {
		if o.Served && !o.Deprecated && kubeversion.CompareKubeAwareVersionStrings(v.Name, o.Name) < 0 {
			better = append(better, o.Name)
		}
	}
	if len(better) == 0 {
		return text
	}
	newest := slices.MaxFunc(better, kubeversion.CompareKubeAwareVersionStrings)
	return fmt.Sprintf("%s; use %s/%s %s", text, m.crd.Spec.Group, newest, m.crd.Spec.Names.Kind)
}

// raw is the kind of what is stored, in whatever version.
func (m *maker) raw(stored *Kind) *Kind {
	k := &Kind{
		GroupVersionKind: stored.GroupVersionKind,
		Plural:           stored.Plural, Singular: stored.Singular, Namespaced: stored.Namespaced,
		New: stored.New, NewList: stored.NewList,
		UnconditionalUpdate: true,
		Unserved:            true,
		Default:             func(Object) {},
		Custom:              &Custom{Mixed: true, Terminating: stored.Custom.Terminating, ListKind: stored.Custom.ListKind},
	}
	return k
}

func customFields(s *customresource.Selectable) func(Object) fields.Set {
	return func(obj Object) fields.Set { return s.Fields(obj.(*unstructured.Unstructured)) }
}
