package conversion

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// settle judges what became of an object, and gives it back the metadata that a conversion may not change: all but labels
// and annotations.
func settle(original, converted *unstructured.Unstructured, apiVersion string) error {
	if converted == nil {
		return errors.New("there is none")
	}
	if got := converted.GetAPIVersion(); got != apiVersion {
		return fmt.Errorf("invalid groupVersion (expected %v, received %v)", apiVersion, got)
	}
	for _, one := range []struct{ name, in, out string }{
		{"kind", original.GetKind(), converted.GetKind()},
		{"name", original.GetName(), converted.GetName()},
		{"namespace", original.GetNamespace(), converted.GetNamespace()},
		{"UID", string(original.GetUID()), string(converted.GetUID())},
	} {
		if one.in != one.out {
			return fmt.Errorf("must have the same %s: %v != %v", one.name, one.in, one.out)
		}
	}
	answered, ok := converted.Object["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata of type %T in converted object", converted.Object["metadata"])
	}
	meta, ok := runtime.DeepCopyJSONValue(original.Object["metadata"]).(map[string]any)
	if !ok {
		meta = map[string]any{}
	}
	for _, name := range []string{"labels", "annotations"} {
		delete(meta, name)
		if answered[name] == nil {
			continue
		}
		texts, ok := answered[name].(map[string]any)
		if !ok {
			return fmt.Errorf("invalid metadata.%s of type %T in converted object", name, answered[name])
		}
		for key, text := range texts {
			if _, ok := text.(string); !ok {
				return fmt.Errorf("metadata.%s[%s] must be a string, but is %T in converted object", name, key, text)
			}
		}
		meta[name] = texts
	}
	converted.Object["metadata"] = meta
	return nil
}
