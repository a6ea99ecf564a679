// Package customresource makes objects of custom kinds what their schema says: pruned, defaulted, valid, shown in
// columns. It knows the schema of one version of a CustomResourceDefinition and plain maps, and nothing of
// kinds and requests.
//
// Kubernetes' own code for structural schemas and for rules in the Common Expression Language does the work; here is
// what Kubernetes' generic server does around it, without that server.
package customresource

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Schema is the schema of one version. What is needed of it is made when the first object comes, and kept: a definition
// that nobody uses costs its bytes. All methods may be called concurrently.
type Schema struct {
	raw      []byte // an encoded CustomResourceValidation; nil: objects are anything
	preserve bool
	load     func() *loaded
	rules    func() *cel.Validator
}

// loaded is what is made of the bytes.
type loaded struct {
	structural    *schema.Structural // nil if the definition has no schema, or an old one that is not structural
	whole, status validation.SchemaValidator
}

// New makes a Schema. preserve is spec.preserveUnknownFields of the definition. Errors: a schema that is not
// structural, which validation of the definition refuses.
func New(v *apiextensionsv1.CustomResourceValidation, preserve bool) (*Schema, error) {
	s := &Schema{preserve: preserve}
	if v != nil && v.OpenAPIV3Schema != nil {
		raw, err := v.Marshal()
		if err != nil {
			return nil, fmt.Errorf("keeping the schema: %w", err)
		}
		s.raw = raw
	}
	s.load = sync.OnceValue(func() *loaded {
		l, err := load(s.raw, preserve)
		if err != nil {
			// It was valid when the definition was written; objects are then read without it.
			return &loaded{}
		}
		return l
	})
	s.rules = sync.OnceValue(func() *cel.Validator {
		l := s.load()
		if l.structural == nil {
			return nil
		}
		return cel.NewValidator(l.structural, true, celconfig.PerCallLimit)
	})
	return s, nil
}

// Hash tells schemas apart.
func (s *Schema) Hash() string {
	return fmt.Sprintf("%x %v", sha256.Sum256(s.raw), s.preserve)
}

// internal reads the bytes into the type that Kubernetes' functions take; nil if there are none.
func internal(raw []byte) (*apiextensions.JSONSchemaProps, error) {
	if raw == nil {
		return nil, nil
	}
	var v apiextensionsv1.CustomResourceValidation
	if err := v.Unmarshal(raw); err != nil {
		return nil, err
	}
	var in apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(&v, &in, nil); err != nil {
		return nil, err
	}
	return in.OpenAPIV3Schema, nil
}

func load(raw []byte, preserve bool) (*loaded, error) {
	l := &loaded{}
	props, err := internal(raw)
	if err != nil {
		return nil, err
	}
	if l.whole, _, err = validation.NewSchemaValidator(props); err != nil || props == nil {
		return l, err
	}
	if status, ok := props.Properties["status"]; ok {
		if l.status, _, err = validation.NewSchemaValidator(&status); err != nil {
			return nil, err
		}
	}
	structural, err := schema.NewStructural(props)
	if err != nil {
		if preserve {
			return l, nil // definitions from before structural schemas were asked for
		}
		return nil, err
	}
	if !preserve {
		structural = structural.DeepCopy()
		if err := defaulting.PruneDefaults(structural); err != nil {
			return nil, err
		}
	}
	l.structural = structural
	return l, nil
}
