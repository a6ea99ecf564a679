package resource

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEveryKindIsComplete(t *testing.T) {
	r := New()
	for _, k := range r.All() {
		t.Run(k.Kind, func(t *testing.T) {
			obj := k.New()
			if byType, ok := r.For(obj); !ok || byType != k {
				t.Errorf("For(%T) does not find the kind", obj)
			}
			if byGVK, ok := r.Kind(k.GroupVersionKind); !ok || byGVK != k {
				t.Error("Kind does not find the kind")
			}
			if byGVR, ok := r.Resource(k.GroupVersionResource()); !ok || byGVR != k {
				t.Error("Resource does not find the kind")
			}
			if !r.Scheme().Recognizes(k.GroupVersionKind) || !r.Scheme().Recognizes(k.GroupVersion().WithKind(k.Kind+"List")) {
				t.Error("the scheme does not know the kind and its list")
			}
			if !r.Scheme().Recognizes(k.GroupVersion().WithKind("ListOptions")) {
				t.Error("the scheme does not know the group version's options")
			}
			if cells := k.Row(obj); len(cells) != len(k.Columns) {
				t.Errorf("%d cells for %d columns", len(cells), len(k.Columns))
			}
			if k.Fields != nil {
				checkFields(t, k)
			}
			if errs := k.Validate(obj); len(errs) == 0 {
				t.Error("an object without a name is valid")
			}
			if _, isMeta := obj.(metav1.Object); !isMeta || k.Singular == "" {
				t.Error("no metadata or no singular")
			}
		})
	}
}

func checkFields(t *testing.T, k *Kind) {
	set := k.Fields(k.Stored().New())
	if len(set) != len(k.FieldNames) {
		t.Errorf("fields %v, names %v", set, k.FieldNames)
	}
	for _, name := range k.FieldNames {
		if !set.Has(name) {
			t.Errorf("field %q is named and not set", name)
		}
	}
}

func TestAllIsOrdered(t *testing.T) {
	all := New().All()
	for i := 1; i < len(all); i++ {
		a, b := all[i-1].GroupVersionResource(), all[i].GroupVersionResource()
		if a.Group > b.Group || a.Group == b.Group && a.Version == b.Version && a.Resource >= b.Resource {
			t.Errorf("%v before %v", a, b)
		}
	}
}
