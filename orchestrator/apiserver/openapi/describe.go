package openapi

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"wherry/orchestrator/resource"
)

// Custom kinds are described as a kind that Kubernetes publishes, with names and schema of their own: the
// requests that one can make are the same.
const (
	modelFile   = "generated/v3/apis__coordination.k8s.io__v1.json.gz"
	modelBase   = "/apis/coordination.k8s.io/v1/"
	modelPlural = "leases"
	modelKind   = "Lease"
	modelSchema = "io.k8s.api.coordination.v1.Lease"
	modelGroup  = "CoordinationV1"
	scaleFile   = "generated/v3/apis__apps__v1.json.gz"
	scaleSchema = "io.k8s.api.autoscaling.v1.Scale"
	metaSchemas = "io.k8s.apimachinery.pkg."
)

type object = map[string]any

// read parses a generated file.
func read(file string) (object, error) {
	f, err := generated.Open(file)
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("openapi: %s: %w", file, err)
	}
	var doc object
	if err := json.NewDecoder(z).Decode(&doc); err != nil {
		return nil, fmt.Errorf("openapi: %s: %w", file, err)
	}
	return doc, nil
}

// describeV3 is the OpenAPI 3 document of one group and version of custom kinds.
func describeV3(kinds []*resource.Kind) ([]byte, error) {
	doc, err := read(modelFile)
	if err != nil {
		return nil, err
	}
	scale, err := read(scaleFile)
	if err != nil {
		return nil, err
	}
	schemas := object{}
	take := func(from object, prefix string) {
		for name, s := range from["components"].(object)["schemas"].(object) {
			if strings.HasPrefix(name, prefix) {
				schemas[name] = s
			}
		}
	}
	take(doc, metaSchemas)
	paths := object{}
	for _, k := range kinds {
		maps.Copy(schemas, schemasOf(k, false))
		maps.Copy(paths, pathsOf(k, doc["paths"].(object)))
		if k.Subresources["scale"] != nil {
			take(scale, scaleSchema)
		}
	}
	doc["paths"] = paths
	doc["info"] = object{"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
	doc["components"] = object{"schemas": schemas}
	return json.Marshal(doc)
}

// describeV2 is what custom kinds add to the OpenAPI 2 document. model is that document.
func describeV2(kinds []*resource.Kind) (definitions, paths object, err error) {
	doc, err := read("generated/v2.json.gz")
	if err != nil {
		return nil, nil, err
	}
	definitions, paths = object{}, object{}
	for _, k := range kinds {
		maps.Copy(definitions, schemasOf(k, true))
		maps.Copy(paths, pathsOf(k, doc["paths"].(object)))
	}
	return definitions, paths, nil
}

// schemaName is the name of a custom kind's schema: its group, backwards, version and kind.
func schemaName(k *resource.Kind) string {
	parts := strings.Split(k.Group, ".")
	slices.Reverse(parts)
	return strings.Join(append(parts, k.Version, k.Kind), ".")
}

// schemasOf are the schemas of a kind and of lists of it.
func schemasOf(k *resource.Kind, v2 bool) object {
	where := "#/components/schemas/"
	if v2 {
		where = "#/definitions/"
	}
	s := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	if k.Custom.Schema != nil {
		s = k.Custom.Schema(v2)
	}
	gvk := func(kind string) []any {
		return []any{object{"group": k.Group, "version": k.Version, "kind": kind}}
	}
	s.AddExtension("x-kubernetes-group-version-kind", gvk(k.Kind))
	text := func(description string) object { return object{"description": description, "type": "string"} }
	ref := func(name, description string) object {
		if v2 {
			return object{"$ref": where + name, "description": description}
		}
		return object{"allOf": []any{object{"$ref": where + name}}, "description": description}
	}
	list := object{
		"description": k.Kind + "List is a list of " + k.Kind,
		"type":        "object",
		"required":    []string{"items"},
		"properties": object{
			"apiVersion": text("APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"),
			"kind":       text("Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"),
			"items":      object{"description": "List of " + k.Plural + ". More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", "type": "array", "items": object{"$ref": where + schemaName(k)}},
			"metadata":   ref("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"),
		},
		"x-kubernetes-group-version-kind": gvk(k.Custom.ListKind),
	}
	if selectable := selectableFields(k); selectable != nil {
		s.AddExtension("x-kubernetes-selectable-fields", selectable)
		list["x-kubernetes-selectable-fields"] = selectable
	}
	return object{schemaName(k): s, schemaName(k) + "List": list}
}

// selectableFields are the paths, beside those of metadata, by which objects of a kind may be selected.
func selectableFields(k *resource.Kind) []any {
	var all []any
	for _, name := range k.FieldNames {
		all = append(all, object{"fieldPath": name})
	}
	return all
}

// pathsOf are the requests for a kind, made of those for the model.
func pathsOf(k *resource.Kind, model object) object {
	base := "/apis/" + k.Group + "/" + k.Version + "/"
	all, one := modelBase+modelPlural, modelBase+"namespaces/{namespace}/"+modelPlural
	place := base + k.Plural
	if k.Namespaced {
		place = base + "namespaces/{namespace}/" + k.Plural
	}
	paths := object{
		place:             likeModel(k, model[one]),
		place + "/{name}": likeModel(k, model[one+"/{name}"]),
	}
	if k.Namespaced {
		paths[base+k.Plural] = likeModel(k, model[all])
	}
	for name := range k.Subresources {
		paths[place+"/{name}/"+name] = subresourceOf(k, name, model[one+"/{name}"])
	}
	return paths
}

// subresourceOf are the requests for a subresource, made of those for an object of the model.
func subresourceOf(k *resource.Kind, name string, model any) any {
	item := likeModel(k, model).(object)
	delete(item, "delete")
	title := strings.ToUpper(name[:1]) + name[1:]
	for _, verb := range []string{"get", "put", "patch"} {
		operation := item[verb].(object)
		operation["operationId"] = operation["operationId"].(string) + title
		operation["description"] = strings.Replace(operation["description"].(string), "the specified", name+" of the specified", 1)
		if name == "scale" {
			operation["x-kubernetes-group-version-kind"] = object{"group": "autoscaling", "version": "v1", "kind": "Scale"}
		}
	}
	if name == "scale" {
		return replaceIn(item, func(s string) string {
			if strings.HasSuffix(s, "/"+schemaName(k)) {
				return strings.TrimSuffix(s, schemaName(k)) + scaleSchema
			}
			return s
		})
	}
	return item
}

// likeModel is a path of the model as one of the kind.
func likeModel(k *resource.Kind, model any) any {
	group := camel(k.Group)
	names := strings.NewReplacer(modelSchema, schemaName(k), modelGroup, group+strings.ToUpper(k.Version[:1])+k.Version[1:],
		"coordination_v1", strings.ToLower(group[:1])+group[1:]+"_"+k.Version, modelKind, k.Kind)
	if !k.Namespaced {
		names = strings.NewReplacer(modelSchema, schemaName(k), modelGroup+"Namespaced", group+strings.ToUpper(k.Version[:1])+k.Version[1:],
			modelGroup+"CollectionNamespaced", group+strings.ToUpper(k.Version[:1])+k.Version[1:]+"Collection",
			"coordination_v1", strings.ToLower(group[:1])+group[1:]+"_"+k.Version, modelKind, k.Kind)
	}
	item := replaceIn(model, names.Replace).(object)
	for _, operation := range item {
		if o, ok := operation.(object); ok && o["x-kubernetes-group-version-kind"] != nil {
			o["x-kubernetes-group-version-kind"] = object{"group": k.Group, "version": k.Version, "kind": k.Kind}
		}
	}
	if parameters, ok := item["parameters"].([]any); ok && !k.Namespaced {
		item["parameters"] = slices.DeleteFunc(parameters, isNamespace)
	}
	return item
}

func isNamespace(parameter any) bool {
	p := parameter.(object)
	ref, _ := p["$ref"].(string)
	return p["name"] == "namespace" || strings.HasPrefix(ref, "#/parameters/namespace-")
}

// camel writes a group as operations name it: stable.example.com is StableExampleCom.
func camel(group string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(group, func(r rune) bool { return r == '.' || r == '-' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// notForCustom are forms that custom objects do not have.
func notForCustom(mediaType string) bool {
	return strings.Contains(mediaType, "protobuf") || strings.Contains(mediaType, "strategic-merge-patch") || strings.Contains(mediaType, "cbor")
}

// replaceIn is a deep copy of a JSON value with every string replaced, without forms that custom objects do not have.
func replaceIn(value any, replace func(string) string) any {
	switch v := value.(type) {
	case string:
		return replace(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, one := range v {
			if s, ok := one.(string); ok && notForCustom(s) {
				continue
			}
			out = append(out, replaceIn(one, replace))
		}
		return out
	case object:
		out := make(object, len(v))
		for name, one := range v {
			if !notForCustom(name) {
				out[name] = replaceIn(one, replace)
			}
		}
		return out
	}
	return value
}
