package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"wherry/orchestrator/resource"
)

// SchemaOf is the schema of a kind without references: what they name stands in their place. It is made anew each time.
func SchemaOf(k *resource.Kind) (*spec.Schema, error) {
	file := modelFile
	if k.Custom == nil {
		file = "generated/v3/" + strings.ReplaceAll(documentOf(k), "/", "__") + ".json.gz"
	}
	doc, err := read(file)
	if err != nil {
		return nil, err
	}
	components, _ := doc["components"].(object)
	all, _ := components["schemas"].(object)
	root, err := rootOf(k, all)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(whole(all, root, nil))
	if err != nil {
		return nil, err
	}
	s := &spec.Schema{}
	return s, json.Unmarshal(b, s)
}

func rootOf(k *resource.Kind, all object) (object, error) {
	if k.Custom == nil {
		for _, s := range all {
			if s, ok := s.(object); ok && describes(s, k) {
				return s, nil
			}
		}
		return nil, fmt.Errorf("openapi: no schema of %s", k.GroupVersionKind)
	}
	if k.Custom.Schema == nil {
		return nil, fmt.Errorf("openapi: %s has no schema", k.GroupVersionKind)
	}
	b, err := json.Marshal(k.Custom.Schema(false))
	if err != nil {
		return nil, err
	}
	var root object
	return root, json.Unmarshal(b, &root)
}

func describes(s object, k *resource.Kind) bool {
	all, _ := s["x-kubernetes-group-version-kind"].([]any)
	return slices.ContainsFunc(all, func(one any) bool {
		gvk, _ := one.(object)
		return gvk["group"] == k.Group && gvk["version"] == k.Version && gvk["kind"] == k.Kind
	})
}

// whole is node with what it refers to. within are the names that it is a part of: what contains itself ends as an
// object of anything.
func whole(all object, node any, within []string) any {
	switch node := node.(type) {
	case []any:
		out := make([]any, len(node))
		for i, part := range node {
			out[i] = whole(all, part, within)
		}
		return out
	case object:
		if name := referred(node); name != "" {
			if slices.Contains(within, name) || all[name] == nil {
				return object{"type": "object"}
			}
			return whole(all, all[name], append(slices.Clone(within), name))
		}
		out := object{}
		for key, part := range node {
			out[key] = whole(all, part, within)
		}
		return out
	}
	return node
}

// referred is the name of the schema that node stands for, "" if it is one itself. A reference with a description is
// wrapped in an allOf.
func referred(node object) string {
	if parts, _ := node["allOf"].([]any); len(parts) == 1 {
		if part, ok := parts[0].(object); ok {
			node = part
		}
	}
	text, _ := node["$ref"].(string)
	return text[strings.LastIndex(text, "/")+1:]
}
