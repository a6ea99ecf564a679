package definition

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// props is a node of a schema as a client sent it.
type props = apiextensions.JSONSchemaProps

var (
	schemaTypes = []string{"array", "boolean", "integer", "number", "object", "string"}
	// rootFields are those that do not get lost when a schema is judged as that of the status alone.
	rootFields = []string{"Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"}
)

// validation judges a version's schema. unchanged says that it was accepted before.
func (c *check) validation(v *apiextensions.CustomResourceValidation, status, unchanged bool, at *field.Path) (errs field.ErrorList) {
	if v == nil || v.OpenAPIV3Schema == nil {
		return nil
	}
	s, below := v.OpenAPIV3Schema, at.Child("openAPIV3Schema")
	if status {
		errs = append(errs, root(s, at)...)
	}
	if s.Nullable {
		errs = append(errs, field.Forbidden(at.Child("openAPIV3Schema.nullable"), "nullable cannot be true at the root"))
	}
	structural, notStructural := schema.NewStructural(s)
	if notStructural == nil {
		errs = append(errs, c.structural(structural, below)...)
	}
	w := &walk{check: c, cheap: unchanged}
	if notStructural == nil && len(errs) == 0 {
		w.total = &cost{}
	}
	found := w.node(s, place{path: below, root: true, cardinality: bounded(1), defaults: true})
	errs = append(errs, found.all()...)
	if notStructural != nil && len(errs) == 0 {
		// What hinders is mostly said better by the walk.
		errs = append(errs, field.Invalid(below, "", notStructural.Error()))
	}
	errs = append(errs, w.total.exceeded(below)...)
	if len(errs) == 0 {
		if _, _, err := validation.NewSchemaValidator(s); err != nil {
			errs = append(errs, field.Invalid(at, "", fmt.Sprintf("error building validator: %v", err)))
		}
	}
	return errs
}

func (c *check) structural(s *schema.Structural, at *field.Path) field.ErrorList {
	if errs := schema.ValidateStructural(at, s); len(errs) > 0 {
		return errs
	}
	errs, err := defaulting.ValidateDefaults(c.ctx, at, s, true, true)
	if err != nil {
		return field.ErrorList{field.Invalid(at, "", err.Error())}
	}
	return errs
}

func root(s *props, at *field.Path) field.ErrorList {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		switch name := v.Type().Field(i).Name; {
		case name == "Type" && s.Type != "object":
			return field.ErrorList{field.Invalid(at.Child("openAPIV3Schema.type"), s.Type, `only "object" is allowed as the type at the root of the schema if the status subresource is enabled`)}
		case !slices.Contains(rootFields, name):
			return field.ErrorList{field.Invalid(at.Child("openAPIV3Schema"), *s, fmt.Sprintf(`only %v fields are allowed at the root of the schema if the status subresource is enabled`, rootFields))}
		}
	}
	return nil
}

// walk judges the nodes of one schema.
type walk struct {
	*check
	cheap bool  // rules were accepted before, whatever they cost
	total *cost // of all rules; nil: rules are not judged, because the schema is wrong
}

// place is where a node stands.
type place struct {
	path       *field.Path
	root       bool
	insideMeta bool // in metadata, apiVersion or kind of an object
	defaults   bool // are allowed
	why        string
	// uncorrelated is the outermost node below which old and new cannot be matched; nil: they can.
	uncorrelated *field.Path
	// cardinality bounds how often the node can occur; nil: not bounded.
	cardinality *uint64
	ruleless    bool // no rules are judged here
}

func (p place) below(path *field.Path) place {
	p.path, p.root = path, false
	return p
}

func (p place) noDefaults(why string) place {
	p.defaults, p.why = false, why
	return p
}

func (p place) noOldSelf(path *field.Path) place {
	if p.uncorrelated == nil {
		p.uncorrelated = path
	}
	return p
}

// found is what is wrong at a node and below it. Rules are only judged where the schema is right.
type found struct{ schema, rules field.ErrorList }

func (f *found) add(g found) {
	f.schema, f.rules = append(f.schema, g.schema...), append(f.rules, g.rules...)
}

func (f *found) all() field.ErrorList { return append(f.schema, f.rules...) }

func (w *walk) node(s *props, at place) (f found) {
	if s == nil {
		return f
	}
	f.schema = append(f.schema, openAPI(s, at)...)
	f.add(w.children(s, at))
	f.add(w.alternatives(s, at))
	f.schema = append(f.schema, extensions(s, at.path)...)
	f.schema = append(f.schema, listMap(s, at.path)...)
	for i := range s.XValidations {
		f.schema = append(f.schema, ruleShape(s, &s.XValidations[i], at.path.Child("x-kubernetes-validations").Index(i))...)
	}
	if len(s.XValidations) > 0 && len(f.schema) == 0 && w.total != nil && !at.ruleless {
		f.rules = append(f.rules, w.rules(s, at)...)
	}
	return f
}

// openAPI refuses what OpenAPI knows and Kubernetes does not.
func openAPI(s *props, at place) (errs field.ErrorList) {
	forbid := func(is bool, name, why string) {
		if is {
			errs = append(errs, field.Forbidden(at.path.Child(name), why))
		}
	}
	if s.Type != "" && !slices.Contains(schemaTypes, s.Type) {
		errs = append(errs, field.NotSupported(at.path.Child("type"), s.Type, schemaTypes))
	}
	forbid(s.Default != nil && !at.defaults, "default", strings.TrimSpace("must not be set "+at.why))
	forbid(s.ID != "", "id", "id is not supported")
	forbid(s.AdditionalItems != nil, "additionalItems", "additionalItems is not supported")
	forbid(len(s.PatternProperties) > 0, "patternProperties", "patternProperties is not supported")
	forbid(len(s.Definitions) > 0, "definitions", "definitions is not supported")
	forbid(s.Dependencies != nil, "dependencies", "dependencies is not supported")
	forbid(s.Ref != nil, "$ref", "$ref is not supported")
	forbid(s.Type == "null", "type", "type cannot be set to null, use nullable as an alternative")
	forbid(s.Items != nil && len(s.Items.JSONSchemas) > 0, "items", "items must be a schema object and not an array")
	forbid(at.insideMeta && s.XEmbeddedResource, "x-kubernetes-embedded-resource", "must not be used inside of resource meta")
	forbid(s.UniqueItems, "uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
	if a := s.AdditionalProperties; a != nil {
		forbid(len(s.Properties) > 0 && (!a.Allows || a.Schema != nil), "additionalProperties", "additionalProperties and properties are mutual exclusive")
	}
	return errs
}

// children are properties, additionalProperties and items.
func (w *walk) children(s *props, at place) (f found) {
	counted := at
	counted.cardinality = times(at.cardinality, elements(s))
	if a := s.AdditionalProperties; a != nil {
		p := counted.below(at.path.Child("additionalProperties"))
		if at.insideMeta {
			p = p.noDefaults("inside additionalProperties applying to object metadata")
		}
		f.add(w.node(a.Schema, p))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		p := counted.below(at.path.Child("properties").Key(name))
		if !cel.MapIsCorrelatable(s.XMapType) {
			p = p.noOldSelf(at.path)
		}
		if (at.root || s.XEmbeddedResource) && (name == "metadata" || name == "kind" || name == "apiVersion") {
			p.insideMeta = true
			if at.root {
				p = p.noDefaults("in top-level " + name)
			}
		}
		f.add(w.node(&property, p))
	}
	if s.Items == nil {
		return f
	}
	p := counted.below(at.path.Child("items"))
	if s.XListType == nil || *s.XListType != "map" {
		p = p.noOldSelf(at.path)
	}
	f.add(w.node(s.Items.Schema, p))
	for i := range s.Items.JSONSchemas {
		f.add(w.node(&s.Items.JSONSchemas[i], p.below(at.path.Child("items").Index(i))))
	}
	return f
}

// alternatives are not, allOf, oneOf, anyOf, and what is refused anyway.
func (w *walk) alternatives(s *props, at place) (f found) {
	at.ruleless = true
	f.add(w.node(s.Not, at.below(at.path.Child("not"))))
	for _, list := range []struct {
		name string
		all  []props
	}{{"allOf", s.AllOf}, {"oneOf", s.OneOf}, {"anyOf", s.AnyOf}} {
		for i := range list.all {
			f.add(w.node(&list.all[i], at.below(at.path.Child(list.name).Index(i))))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Definitions)) {
		definition := s.Definitions[name]
		f.add(w.node(&definition, at.below(at.path.Child("definitions").Key(name))))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) {
		f.add(w.node(s.Dependencies[name].Schema, at.below(at.path.Child("dependencies").Key(name))))
	}
	return f
}

// extensions judges Kubernetes' own words in a schema.
func extensions(s *props, at *field.Path) (errs field.ErrorList) {
	if p := s.XPreserveUnknownFields; p != nil && !*p {
		errs = append(errs, field.Invalid(at.Child("x-kubernetes-preserve-unknown-fields"), *p, "must be true or undefined"))
	}
	typed := func(typ, extension string) {
		why := fmt.Sprintf("must be %s if %s is specified", typ, extension)
		switch s.Type {
		case typ:
		case "":
			errs = append(errs, field.Required(at.Child("type"), why))
		default:
			errs = append(errs, field.Invalid(at.Child("type"), s.Type, why))
		}
	}
	if m := s.XMapType; m != nil {
		typed("object", "x-kubernetes-map-type")
		if *m != "atomic" && *m != "granular" {
			errs = append(errs, field.NotSupported(at.Child("x-kubernetes-map-type"), *m, []string{"atomic", "granular"}))
		}
	}
	if l := s.XListType; l != nil {
		typed("array", "x-kubernetes-list-type")
		if s.Type == "array" && *l == "set" {
			errs = append(errs, set(s, at)...)
		}
		if *l != "atomic" && *l != "set" && *l != "map" {
			errs = append(errs, field.NotSupported(at.Child("x-kubernetes-list-type"), *l, []string{"atomic", "set", "map"}))
		}
		if (*l == "set" || *l == "map") && s.Items != nil && s.Items.Schema != nil && s.Items.Schema.Nullable {
			errs = append(errs, field.Forbidden(at.Child("items").Child("nullable"), "cannot be nullable when x-kubernetes-list-type is "+*l))
		}
	}
	return errs
}

// set: items of a set are compared as a whole.
func set(s *props, at *field.Path) field.ErrorList {
	if s.Items == nil || s.Items.Schema == nil {
		return nil
	}
	const why = "must be atomic as item of a list with x-kubernetes-list-type=set"
	switch item := s.Items.Schema; {
	case item.Type == "array" && item.XListType != nil && *item.XListType != "atomic":
		return field.ErrorList{field.Invalid(at.Child("items").Child("x-kubernetes-list-type"), item.XListType, why)}
	case item.Type == "object" && (item.XMapType == nil || *item.XMapType != "atomic"):
		return field.ErrorList{field.Invalid(at.Child("items").Child("x-kubernetes-map-type"), item.XListType, why)}
	}
	return nil
}

// listMap: items of a map are found by their keys.
func listMap(s *props, at *field.Path) (errs field.ErrorList) {
	kind, keys, isMap := at.Child("x-kubernetes-list-type"), at.Child("x-kubernetes-list-map-keys"), s.XListType != nil && *s.XListType == "map"
	switch why := "must be map if x-kubernetes-list-map-keys is non-empty"; {
	case len(s.XListMapKeys) == 0:
	case s.XListType == nil:
		errs = append(errs, field.Required(kind, why))
	case !isMap:
		errs = append(errs, field.Invalid(kind, *s.XListType, why))
	}
	if !isMap {
		return errs
	}
	if len(s.XListMapKeys) == 0 {
		errs = append(errs, field.Required(keys, "must not be empty if x-kubernetes-list-type is map"))
	}
	items := at.Child("items")
	switch {
	case s.Items == nil:
		return append(errs, field.Required(items, "must have a schema if x-kubernetes-list-type is map"))
	case s.Items.Schema == nil:
		return append(errs, field.Invalid(items, s.Items, "must only have a single schema if x-kubernetes-list-type is map"))
	case s.Items.Schema.Type != "object":
		return append(errs, field.Invalid(items.Child("type"), s.Items.Schema.Type, "must be object if parent array's x-kubernetes-list-type is map"))
	}
	seen := map[string]bool{}
	for _, key := range s.XListMapKeys {
		errs = append(errs, mapKey(s, key, at)...)
		if seen[key] {
			errs = append(errs, field.Invalid(keys, s.XListMapKeys, "must not contain duplicate entries"))
		}
		seen[key] = true
	}
	return errs
}

func mapKey(s *props, key string, at *field.Path) (errs field.ErrorList) {
	item := s.Items.Schema
	property, ok := item.Properties[key]
	if !ok {
		return field.ErrorList{field.Invalid(at.Child("x-kubernetes-list-map-keys"), s.XListMapKeys, "entries must all be names of item properties")}
	}
	p := at.Child("items").Child("properties").Key(key)
	if property.Type == "array" || property.Type == "object" {
		errs = append(errs, field.Invalid(p.Child("type"), item.Type, "must be a scalar type if parent array's x-kubernetes-list-type is map"))
	}
	if property.Default == nil && !slices.Contains(item.Required, key) {
		errs = append(errs, field.Required(p.Child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"))
	}
	if property.Nullable {
		errs = append(errs, field.Forbidden(p.Child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"))
	}
	return errs
}
