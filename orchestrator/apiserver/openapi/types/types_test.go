package types

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v2"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

const sample = `
types:
- {name: scalar, scalar: string}
- name: any
  scalar: untyped
  list: {elementType: {namedType: any}, elementRelationship: atomic}
  map: {elementType: {namedType: any}, elementRelationship: separable}
- name: object
  map:
    elementRelationship: atomic
    fields:
    - {name: a, type: {scalar: numeric}, default: 1.5}
    - {name: b, type: {namedType: any, elementRelationship: atomic}}
    - name: c
      type:
        list:
          elementType: {namedType: scalar}
          elementRelationship: associative
          keys: [a, b]
    - {name: d, type: {map: {elementType: {scalar: boolean}}}, default: "x"}
`

func read(t *testing.T, text string) *schema.Schema {
	t.Helper()
	s := &schema.Schema{}
	if err := yaml.Unmarshal([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	want := read(t, sample)
	want.Types[2].Map.Fields[1].Default = map[string]any{}
	b, err := Encode(want.Types)
	if err != nil {
		t.Fatal(err)
	}
	types, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(write(t, want.Types), write(t, types)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func write(t *testing.T, types []schema.TypeDef) string {
	t.Helper()
	b, err := yaml.Marshal(types)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUnionsAreRefused(t *testing.T) {
	s := read(t, `types: [{name: u, map: {unions: [{fields: [{fieldName: a, discriminatorValue: A}]}]}}]`)
	if _, err := Encode(s.Types); err == nil || !strings.Contains(err.Error(), "type u: unions") {
		t.Errorf("%v", err)
	}
}

func TestGarbage(t *testing.T) {
	if _, err := Decode([]byte(`{"n":1}`)); err == nil {
		t.Error("no error")
	}
}
