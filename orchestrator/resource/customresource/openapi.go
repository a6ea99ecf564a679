package customresource

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
)

// ObjectMeta is the name of the model of metadata.
const ObjectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

var partialDescriptions = metav1.PartialObjectMetadata{}.SwaggerDoc()

// OpenAPI describes objects of a kind, in the words of OpenAPI 2 if v2, else of OpenAPI 3. Schemas refer to ObjectMeta.
func (s *Schema) OpenAPI(gvk schema.GroupVersionKind, v2 bool) *spec.Schema {
	structural := s.load().structural
	out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	// With properties a client takes what is not among them for unknown.
	if structural != nil && !(v2 && (structural.XPreserveUnknownFields || s.preserve)) {
		if v2 {
			structural = openapiv2.ToStructuralOpenAPIV2(structural)
		}
		out = structural.ToKubeOpenAPI()
		out.SetProperty("metadata", *metaRef(v2))
		typeMeta(out)
		embedded(out, v2)
	}
	out.AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind},
	})
	return out
}

func metaRef(v2 bool) *spec.Schema {
	ref := spec.RefSchema("#/definitions/" + ObjectMeta)
	if !v2 { // there, nothing may stand beside a reference
		ref = &spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{*spec.RefSchema("#/components/schemas/" + ObjectMeta)}}}
	}
	return ref.WithDescription(partialDescriptions["metadata"])
}

func typeMeta(s *spec.Schema) {
	docs := metav1.TypeMeta{}.SwaggerDoc()
	for _, name := range []string{"apiVersion", "kind"} {
		s.SetProperty(name, *spec.StringProperty().WithDescription(docs[name]))
	}
}

// embedded describes type and metadata of objects within objects, and in OpenAPI 3 what is a number or a string.
func embedded(s *spec.Schema, v2 bool) {
	if s == nil {
		return
	}
	for name, property := range s.Properties {
		embedded(&property, v2)
		s.Properties[name] = property
	}
	if s.Items != nil {
		embedded(s.Items.Schema, v2)
	}
	if s.AdditionalProperties != nil {
		embedded(s.AdditionalProperties.Schema, v2)
	}
	if either, _ := s.Extensions.GetBool("x-kubernetes-int-or-string"); either && !v2 && len(s.AnyOf) == 0 && len(s.AllOf) == 0 {
		s.AnyOf = []spec.Schema{
			{SchemaProps: spec.SchemaProps{Type: []string{"integer"}}},
			{SchemaProps: spec.SchemaProps{Type: []string{"string"}}},
		}
	}
	if preserved, _ := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields"); preserved && v2 {
		return
	}
	if is, _ := s.Extensions.GetBool("x-kubernetes-embedded-resource"); !is {
		return
	}
	s.SetProperty("apiVersion", *spec.StringProperty().WithDescription("apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"))
	s.SetProperty("kind", *spec.StringProperty().WithDescription("kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"))
	s.SetProperty("metadata", *metaRef(v2))
	for _, name := range []string{"kind", "apiVersion"} {
		if !strings.Contains("\x00"+strings.Join(s.Required, "\x00")+"\x00", "\x00"+name+"\x00") {
			s.Required = append(s.Required, name)
		}
	}
}
