package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"wherry/orchestrator/apiserver/openapi/types"
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
	all, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return err
	}
	order(all.Types)
	b, err := types.Encode(all.Types)
	if err != nil {
		return err
	}
	return writeBytes(path, b)
}

// order makes the file the same at every run.
func order(all []schema.TypeDef) {
	slices.SortFunc(all, func(a, b schema.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	for i := range all {
		orderAtom(all[i].Atom)
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
