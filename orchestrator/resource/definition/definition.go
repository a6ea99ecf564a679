// Package definition judges CustomResourceDefinitions: names, versions, schemas and the rules in them, in
// Kubernetes' words. It does what k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation does, which
// would bring a client and half of a generic server along.
package definition

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apimachinery/pkg/api/equality"
	genericvalidation "k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// MaxSelectableFields is how many selectableFields a version may have.
const MaxSelectableFields = 8

var (
	columnTypes   = []string{"boolean", "date", "integer", "number", "string"}
	columnFormats = []string{"byte", "date", "date-time", "double", "float", "int32", "int64", "password"}
)

// check is one judgement.
type check struct {
	ctx context.Context
	old *apiextensions.CustomResourceDefinition // nil: a new one
	// known are the rules and messages that old has; unchanged the versions whose schema is old's.
	known     expressions
	unchanged map[string]bool
}

// Validate judges a new definition.
func Validate(ctx context.Context, crd *apiextensions.CustomResourceDefinition) field.ErrorList {
	c := &check{ctx: ctx}
	name := func(name string, prefix bool) []string {
		why := genericvalidation.NameIsDNSSubdomain(name, prefix)
		if name != crd.Spec.Names.Plural+"."+crd.Spec.Group {
			why = append(why, `must be spec.names.plural+"."+spec.group`)
		}
		return why
	}
	errs := genericvalidation.ValidateObjectMeta(&crd.ObjectMeta, false, name, field.NewPath("metadata"))
	return append(errs, c.definition(crd)...)
}

// ValidateUpdate judges a changed one.
func ValidateUpdate(ctx context.Context, crd, old *apiextensions.CustomResourceDefinition) field.ErrorList {
	c := &check{ctx: ctx, old: old, known: expressionsOf(&old.Spec), unchanged: unchanged(crd, old)}
	errs := genericvalidation.ValidateObjectMetaUpdate(&crd.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	errs = append(errs, c.definition(crd)...)
	spec := field.NewPath("spec")
	if established(old) {
		errs = append(errs, genericvalidation.ValidateImmutableField(crd.Spec.Scope, old.Spec.Scope, spec.Child("scope"))...)
		errs = append(errs, genericvalidation.ValidateImmutableField(crd.Spec.Names.Kind, old.Spec.Names.Kind, spec.Child("names", "kind"))...)
	}
	errs = append(errs, genericvalidation.ValidateImmutableField(crd.Spec.Group, old.Spec.Group, spec.Child("group"))...)
	return append(errs, genericvalidation.ValidateImmutableField(crd.Spec.Names.Plural, old.Spec.Names.Plural, spec.Child("names", "plural"))...)
}

// ValidateStatus judges what was written through the status subresource.
func ValidateStatus(crd, old *apiextensions.CustomResourceDefinition) field.ErrorList {
	errs := genericvalidation.ValidateObjectMetaUpdate(&crd.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	return append(errs, names(&crd.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))...)
}

func established(crd *apiextensions.CustomResourceDefinition) bool {
	return apiextensions.IsCRDConditionTrue(crd, apiextensions.Established)
}

func unchanged(crd, old *apiextensions.CustomResourceDefinition) map[string]bool {
	same := map[string]bool{}
	for _, v := range crd.Spec.Versions {
		now, err := apiextensions.GetSchemaForVersion(crd, v.Name)
		before, errBefore := apiextensions.GetSchemaForVersion(old, v.Name)
		same[v.Name] = err == nil && errBefore == nil && equality.Semantic.DeepEqual(now, before)
	}
	return same
}

func (c *check) definition(crd *apiextensions.CustomResourceDefinition) field.ErrorList {
	errs := c.spec(&crd.Spec, field.NewPath("spec"))
	errs = append(errs, names(&crd.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))...)
	errs = append(errs, storedVersions(crd, field.NewPath("status", "storedVersions"))...)
	errs = append(errs, c.approval(crd)...)
	if p := crd.Spec.PreserveUnknownFields; p != nil && *p && !c.preservedBefore() {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), p,
			"cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"))
	}
	return errs
}

func (c *check) preservedBefore() bool {
	return c.old != nil && c.old.Spec.PreserveUnknownFields != nil && *c.old.Spec.PreserveUnknownFields
}

func (c *check) spec(spec *apiextensions.CustomResourceDefinitionSpec, at *field.Path) field.ErrorList {
	errs := group(spec.Group, at.Child("group"))
	errs = append(errs, oneOf(at.Child("scope"), string(spec.Scope), string(apiextensions.ClusterScoped), string(apiextensions.NamespaceScoped))...)
	if spec.Validation == nil || spec.Validation.OpenAPIV3Schema == nil {
		for i, v := range spec.Versions {
			if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
				errs = append(errs, field.Required(at.Child("versions").Index(i).Child("schema").Child("openAPIV3Schema"), ""))
			}
		}
	}
	errs = append(errs, c.versions(spec, at.Child("versions"))...)
	for _, required := range []struct{ name, value string }{
		{"plural", spec.Names.Plural}, {"singular", spec.Names.Singular}, {"kind", spec.Names.Kind}, {"listKind", spec.Names.ListKind},
	} {
		if required.value == "" {
			errs = append(errs, field.Required(at.Child("names", required.name), ""))
		}
	}
	errs = append(errs, names(&spec.Names, at.Child("names"))...)
	status := hasStatus(spec.Subresources) || slices.ContainsFunc(spec.Versions, func(v apiextensions.CustomResourceDefinitionVersion) bool { return hasStatus(v.Subresources) })
	errs = append(errs, c.validation(spec.Validation, status, c.unchanged[spec.Version], at.Child("validation"))...)
	errs = append(errs, subresources(spec.Subresources, at.Child("subresources"))...)
	errs = append(errs, columns(spec.AdditionalPrinterColumns, at.Child("additionalPrinterColumns"))...)
	errs = append(errs, selectableEverywhere(spec, at)...)
	if spec.Conversion != nil && spec.Conversion.Strategy != apiextensions.NoneConverter && c.preservedBefore() {
		errs = append(errs, field.Invalid(at.Child("conversion", "strategy"), spec.Conversion.Strategy, "must be None if spec.preserveUnknownFields is true"))
	}
	return append(errs, c.conversion(spec.Conversion, at.Child("conversion"))...)
}

func group(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if why := utilvalidation.IsDNS1123Subdomain(name); len(why) > 0 {
		return field.ErrorList{field.Invalid(at, name, strings.Join(why, ","))}
	}
	if !strings.Contains(name, ".") {
		return field.ErrorList{field.Invalid(at, name, "should be a domain with at least one dot")}
	}
	return nil
}

func oneOf(at *field.Path, value string, accepted ...string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	if !slices.Contains(accepted, value) {
		return field.ErrorList{field.NotSupported(at, value, accepted)}
	}
	return nil
}

func (c *check) versions(spec *apiextensions.CustomResourceDefinitionSpec, at *field.Path) (errs field.ErrorList) {
	stored, seen, twice := 0, map[string]bool{}, false
	for i := range spec.Versions {
		v := &spec.Versions[i]
		if v.Storage {
			stored++
		}
		twice = twice || seen[v.Name]
		seen[v.Name] = true
		if why := utilvalidation.IsDNS1035Label(v.Name); len(why) > 0 {
			errs = append(errs, field.Invalid(at.Index(i).Child("name"), v.Name, strings.Join(why, ",")))
		}
		errs = append(errs, c.version(spec, v, at.Index(i))...)
	}
	if twice {
		errs = append(errs, field.Invalid(at, spec.Versions, "must contain unique version names"))
	}
	if stored != 1 {
		errs = append(errs, field.Invalid(at, spec.Versions, "must have exactly one version marked as storage version"))
	}
	return errs
}

func (c *check) version(spec *apiextensions.CustomResourceDefinitionSpec, v *apiextensions.CustomResourceDefinitionVersion, at *field.Path) (errs field.ErrorList) {
	for _, why := range deprecation(v.Deprecated, v.DeprecationWarning) {
		errs = append(errs, field.Invalid(at.Child("deprecationWarning"), v.DeprecationWarning, why))
	}
	doors := v.Subresources
	if spec.Subresources != nil {
		doors = spec.Subresources
	}
	errs = append(errs, c.validation(v.Schema, hasStatus(doors), c.unchanged[v.Name], at.Child("schema"))...)
	errs = append(errs, subresources(v.Subresources, at.Child("subresources"))...)
	errs = append(errs, columns(v.AdditionalPrinterColumns, at.Child("additionalPrinterColumns"))...)
	return append(errs, selectable(v.SelectableFields, v.Schema, at)...)
}

func hasStatus(s *apiextensions.CustomResourceSubresources) bool { return s != nil && s.Status != nil }

func deprecation(deprecated bool, warning *string) (why []string) {
	switch {
	case warning == nil:
		return nil
	case !deprecated:
		return []string{"can only be set for deprecated versions"}
	}
	if len(*warning) > 256 {
		why = append(why, "must be <= 256 characters long")
	}
	if *warning == "" {
		why = append(why, "must not be an empty string")
	}
	for i, r := range *warning {
		if !unicode.IsPrint(r) {
			why = append(why, fmt.Sprintf("must only contain printable UTF-8 characters; non-printable character found at index %d", i))
			break
		}
	}
	if !utf8.ValidString(*warning) {
		why = append(why, "must only contain printable UTF-8 characters")
	}
	return why
}

func names(n *apiextensions.CustomResourceDefinitionNames, at *field.Path) (errs field.ErrorList) {
	label := func(child *field.Path, value, shown, before string) {
		if why := utilvalidation.IsDNS1035Label(value); len(why) > 0 {
			errs = append(errs, field.Invalid(child, shown, before+strings.Join(why, ",")))
		}
	}
	const mixed = "may have mixed case, but should otherwise match: "
	for _, one := range []struct{ child, value, shown, before string }{
		{"plural", n.Plural, n.Plural, ""}, {"singular", n.Singular, n.Singular, ""},
		{"kind", strings.ToLower(n.Kind), n.Kind, mixed}, {"listKind", strings.ToLower(n.ListKind), n.ListKind, mixed},
	} {
		if one.value != "" {
			label(at.Child(one.child), one.value, one.shown, one.before)
		}
	}
	for i, name := range n.ShortNames {
		label(at.Child("shortNames").Index(i), name, name, "")
	}
	if n.Kind != "" && n.Kind == n.ListKind {
		errs = append(errs, field.Invalid(at.Child("listKind"), n.ListKind, "kind and listKind may not be the same"))
	}
	for i, name := range n.Categories {
		label(at.Child("categories").Index(i), name, name, "")
	}
	return errs
}

func storedVersions(crd *apiextensions.CustomResourceDefinition, at *field.Path) (errs field.ErrorList) {
	stored := crd.Status.StoredVersions
	if len(stored) == 0 {
		return field.ErrorList{field.Invalid(at, stored, "must have at least one stored version")}
	}
	var known []string
	for _, v := range crd.Spec.Versions {
		known = append(known, v.Name)
		if v.Storage && !slices.Contains(stored, v.Name) {
			errs = append(errs, field.Invalid(at, stored, "must have the storage version "+v.Name))
		}
	}
	for i, v := range stored {
		if !slices.Contains(known, v) {
			errs = append(errs, field.Invalid(at.Index(i), v, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", v)))
		}
	}
	return errs
}

// approval asks for a sign that an API in a group of the Kubernetes project is the project's.
func (c *check) approval(crd *apiextensions.CustomResourceDefinition) field.ErrorList {
	if !Protected(crd.Spec.Group) {
		return nil
	}
	state, why := ApprovalOf(crd.Annotations)
	if c.old != nil {
		if before, _ := ApprovalOf(c.old.Annotations); before == state {
			return nil
		}
	}
	at := field.NewPath("metadata", "annotations").Key(approvedAnnotation)
	switch state {
	case Missing:
		return field.ErrorList{field.Required(at, why)}
	case Unreadable:
		return field.ErrorList{field.Invalid(at, crd.Annotations[approvedAnnotation], why)}
	}
	return nil
}

func subresources(s *apiextensions.CustomResourceSubresources, at *field.Path) (errs field.ErrorList) {
	if s == nil || s.Scale == nil {
		return nil
	}
	path := func(child, value, why string, below ...string) {
		p := at.Child("scale." + child)
		if found := simplePath(value, p); len(found) > 0 {
			errs = append(errs, found...)
		} else if !slices.ContainsFunc(below, func(prefix string) bool { return strings.HasPrefix(value, prefix) }) {
			errs = append(errs, field.Invalid(p, value, why))
		}
	}
	if s.Scale.SpecReplicasPath == "" {
		errs = append(errs, field.Required(at.Child("scale.specReplicasPath"), ""))
	} else {
		path("specReplicasPath", s.Scale.SpecReplicasPath, "should be a json path under .spec", ".spec.")
	}
	if s.Scale.StatusReplicasPath == "" {
		errs = append(errs, field.Required(at.Child("scale.statusReplicasPath"), ""))
	} else {
		path("statusReplicasPath", s.Scale.StatusReplicasPath, "should be a json path under .status", ".status.")
	}
	if p := s.Scale.LabelSelectorPath; p != nil && *p != "" {
		path("labelSelectorPath", *p, "should be a json path under either .spec or .status", ".spec.", ".status.")
	}
	return errs
}

func simplePath(s string, at *field.Path) field.ErrorList {
	switch {
	case s == "":
		return field.ErrorList{field.Invalid(at, s, "must not be empty")}
	case s[0] != '.':
		return field.ErrorList{field.Invalid(at, s, "must be a simple json path starting with .")}
	}
	return nil
}

func columns(all []apiextensions.CustomResourceColumnDefinition, at *field.Path) (errs field.ErrorList) {
	for i := range all {
		errs = append(errs, column(&all[i], at.Index(i))...)
	}
	return errs
}

func column(col *apiextensions.CustomResourceColumnDefinition, at *field.Path) (errs field.ErrorList) {
	if col.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	types := "must be one of " + strings.Join(columnTypes, ",")
	if col.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), types))
	} else if !slices.Contains(columnTypes, col.Type) {
		errs = append(errs, field.Invalid(at.Child("type"), col.Type, types))
	}
	if col.Format != "" && !slices.Contains(columnFormats, col.Format) {
		errs = append(errs, field.Invalid(at.Child("format"), col.Format, "must be one of "+strings.Join(columnFormats, ",")))
	}
	if col.JSONPath == "" {
		return append(errs, field.Required(at.Child("JSONPath"), ""))
	}
	return append(errs, simplePath(col.JSONPath, at.Child("JSONPath"))...)
}

// selectableEverywhere judges selectableFields that all versions have.
func selectableEverywhere(spec *apiextensions.CustomResourceDefinitionSpec, at *field.Path) (errs field.ErrorList) {
	if spec.Validation != nil {
		return selectable(spec.SelectableFields, spec.Validation, at)
	}
	for i, v := range spec.Versions {
		errs = append(errs, selectable(spec.SelectableFields, v.Schema, at.Child("versions").Index(i))...)
	}
	return errs
}

// selectable judges the selectableFields below at, which must be of the schema v.
func selectable(all []apiextensions.SelectableField, v *apiextensions.CustomResourceValidation, at *field.Path) (errs field.ErrorList) {
	fields := at.Child("selectableFields")
	switch {
	case len(all) == 0:
		return nil
	case v == nil || v.OpenAPIV3Schema == nil:
		return field.ErrorList{field.Invalid(fields, "", "may only be set when `version.schema.openAPIV3Schema` is not included")}
	}
	structural, err := schema.NewStructural(v.OpenAPIV3Schema)
	if err != nil {
		return field.ErrorList{field.Invalid(at.Child("schema.openAPIV3Schema"), "", err.Error())}
	}
	unique := map[string]bool{}
	for i, f := range all {
		p := fields.Index(i).Child("jsonPath")
		if f.JSONPath == "" {
			errs = append(errs, field.Required(p, ""))
			continue
		}
		path, of, err := cel.ValidFieldPath(f.JSONPath, structural, cel.WithFieldPathAllowArrayNotation(false))
		if err != nil {
			errs = append(errs, field.Invalid(p, f.JSONPath, fmt.Sprintf("is an invalid path: %v", err)))
			continue
		}
		if path.Root().String() == "metadata" {
			errs = append(errs, field.Invalid(p, f.JSONPath, "must not point to fields in metadata"))
		}
		if of == nil || !slices.Contains([]string{"string", "boolean", "integer"}, of.Type) {
			errs = append(errs, field.Invalid(p, f.JSONPath, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."))
		}
		if unique[path.String()] {
			errs = append(errs, field.Duplicate(p, f.JSONPath))
		}
		unique[path.String()] = true
	}
	if len(unique) > MaxSelectableFields {
		errs = append(errs, field.TooMany(fields, len(unique), MaxSelectableFields))
	}
	return errs
}

var reviewVersions = []string{"v1", "v1beta1"}

func (c *check) conversion(conv *apiextensions.CustomResourceConversion, at *field.Path) field.ErrorList {
	if conv == nil {
		return nil
	}
	errs := oneOf(at.Child("strategy"), string(conv.Strategy), string(apiextensions.NoneConverter), string(apiextensions.WebhookConverter))
	client := at.Child("webhookClientConfig")
	if conv.Strategy != apiextensions.WebhookConverter {
		if conv.WebhookClientConfig != nil {
			errs = append(errs, field.Forbidden(client, "should not be set when strategy is not set to Webhook"))
		}
		if len(conv.ConversionReviewVersions) > 0 {
			errs = append(errs, field.Forbidden(at.Child("conversionReviewVersions"), "should not be set when strategy is not set to Webhook"))
		}
		return errs
	}
	switch cc := conv.WebhookClientConfig; {
	case cc == nil:
		errs = append(errs, field.Required(client, "required when strategy is set to Webhook"))
	case (cc.URL == nil) == (cc.Service == nil):
		errs = append(errs, field.Required(client, "exactly one of url or service is required"))
	case cc.URL != nil:
		errs = append(errs, webhookURL(client.Child("url"), *cc.URL)...)
	default:
		errs = append(errs, webhookService(client.Child("service"), cc.Service)...)
	}
	if cc := conv.WebhookClientConfig; cc != nil && len(cc.CABundle) > 0 && c.strictBundle() {
		errs = append(errs, bundle(client.Child("caBundle"), cc.CABundle)...)
	}
	return append(errs, conversionVersions(conv.ConversionReviewVersions, at.Child("conversionReviewVersions"))...)
}

// strictBundle says that the definition works, so that a change must not break it.
func (c *check) strictBundle() bool {
	if c.old == nil || !established(c.old) {
		return false
	}
	conv := c.old.Spec.Conversion
	return conv == nil || conv.WebhookClientConfig == nil || len(bundle(nil, conv.WebhookClientConfig.CABundle)) == 0
}

func bundle(at *field.Path, pems []byte) field.ErrorList {
	for rest := pems; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			return nil
		}
	}
	if len(pems) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, pems, "unable to load root certificates: unable to parse bytes as PEM block")}
}

func conversionVersions(all []string, at *field.Path) (errs field.ErrorList) {
	if len(all) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	seen, accepted := map[string]bool{}, false
	for i, v := range all {
		if seen[v] {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		seen[v] = true
		for _, why := range utilvalidation.IsDNS1035Label(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, why))
		}
		accepted = accepted || slices.Contains(reviewVersions, v)
	}
	if !accepted {
		errs = append(errs, field.Invalid(at, all, "must include at least one of "+strings.Join(reviewVersions, ", ")))
	}
	return errs
}
