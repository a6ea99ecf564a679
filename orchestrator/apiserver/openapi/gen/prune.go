package main

import (
	"slices"
	"strings"
)

// prune takes out of an OpenAPI document what is not served, and the definitions that nothing refers to any
// more. sections are where definitions stand, as in components/schemas.
func prune(doc map[string]any, s *served, version string, sections ...string) {
	doc["info"].(map[string]any)["version"] = version
	paths := doc["paths"].(map[string]any)
	for path, item := range paths {
		if !s.path(path) {
			delete(paths, path)
			continue
		}
		pruneItem(item.(map[string]any), path, s)
	}
	dropCBOR(doc)
	wanted := map[string]bool{}
	reach(doc, paths, wanted)
	for _, section := range sections {
		definitions := find(doc, section)
		for name := range definitions {
			if !wanted["#/"+section+"/"+name] {
				delete(definitions, name)
			}
		}
	}
}

func pruneItem(item map[string]any, path string, s *served) {
	for method, operation := range item {
		o, ok := operation.(map[string]any)
		if !ok { // the parameters of all operations
			continue
		}
		if action, ok := o["x-kubernetes-action"].(string); ok && !s.operation(path, action) {
			delete(item, method)
		}
	}
}

// dropCBOR removes an encoding that is not spoken.
func dropCBOR(node any) {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			if strings.HasPrefix(key, "application/") && strings.Contains(key, "cbor") {
				delete(n, key)
				continue
			}
			if list, ok := value.([]any); ok && (key == "consumes" || key == "produces") {
				n[key] = slices.DeleteFunc(list, func(v any) bool { return strings.Contains(v.(string), "cbor") })
				continue
			}
			dropCBOR(value)
		}
	case []any:
		for _, value := range n {
			dropCBOR(value)
		}
	}
}

// reach notes every reference in node, and in what is referred to.
func reach(doc map[string]any, node any, wanted map[string]bool) {
	switch n := node.(type) {
	case map[string]any:
		if ref, ok := n["$ref"].(string); ok && !wanted[ref] {
			wanted[ref] = true
			reach(doc, find(doc, strings.TrimPrefix(ref, "#/")), wanted)
		}
		for _, value := range n {
			reach(doc, value, wanted)
		}
	case []any:
		for _, value := range n {
			reach(doc, value, wanted)
		}
	}
}

// find follows a path of keys; names of definitions hold no slash.
func find(doc map[string]any, path string) map[string]any {
	for key := range strings.SplitSeq(path, "/") {
		doc, _ = doc[key].(map[string]any)
	}
	return doc
}
