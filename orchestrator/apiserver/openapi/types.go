package openapi

import (
	"compress/gzip"
	"fmt"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"wherry/orchestrator/apiserver/openapi/types"
)

// TypeConverter returns what managed fields and server-side apply of a scheme's kinds are computed with. The types
// are read on first use.
func TypeConverter(scheme *runtime.Scheme) managedfields.TypeConverter {
	return &converter{load: sync.OnceValues(func() (managedfields.TypeConverter, error) {
		parser, err := readTypes()
		if err != nil {
			return nil, fmt.Errorf("openapi: read types: %w", err)
		}
		return managedfields.NewSchemeTypeConverter(scheme, parser), nil
	})}
}

type converter struct {
	load func() (managedfields.TypeConverter, error)
}

func (c *converter) ObjectToTyped(obj runtime.Object, o ...typed.ValidationOptions) (*typed.TypedValue, error) {
	tc, err := c.load()
	if err != nil {
		return nil, err
	}
	return tc.ObjectToTyped(obj, o...)
}

func (c *converter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	tc, err := c.load()
	if err != nil {
		return nil, err
	}
	return tc.TypedToObject(v)
}

func readTypes() (*typed.Parser, error) {
	f, err := generated.Open("generated/types.json.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	all, err := types.Decode(b)
	return &typed.Parser{Schema: schema.Schema{Types: all}}, err
}
