package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v2"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// writeTypes turns schemas into the form that merges of managed fields work on.
func writeTypes(path string, schemas map[string]any) error {
	models := make(map[string]*spec.Schema, len(schemas))
	for name, s := range schemas {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		models[name] = &spec.Schema{}
		if err := json.Unmarshal(b, models[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	types, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return err
	}
	order(types.Types)
	b, err := yaml.Marshal(types)
	if err != nil {
		return err
	}
	return writeBytes(path, b)
}

// order makes the file the same at every run.
func order(types []schema.TypeDef) {
	slices.SortFunc(types, func(a, b schema.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	for i := range types {
		orderAtom(types[i].Atom)
	}
}

func orderAtom(a schema.Atom) {
	if a.List != nil {
		orderAtom(a.List.ElementType.Inlined)
	}
	if a.Map == nil {
		return
	}
	orderAtom(a.Map.ElementType.Inlined)
	slices.SortFunc(a.Map.Fields, func(a, b schema.StructField) int { return cmp.Compare(a.Name, b.Name) })
	for _, f := range a.Map.Fields {
		orderAtom(f.Type.Inlined)
	}
}
