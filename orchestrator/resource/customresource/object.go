package customresource

import (
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"
)

// Coerce makes of an object what decoding makes of typed ones: metadata is read as its type, fields that the schema does
// not know are taken away and returned, as in spec.unknown, and so are nulls where there may be none. With stored, what
// does not fit into metadata is dropped too. Errors: metadata that is none; not with stored.
func (s *Schema) Coerce(u *unstructured.Unstructured, stored bool) (unknown []string, err error) {
	kind, apiVersion := u.GetKind(), u.GetAPIVersion()
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{
		DropMalformedFields: stored, ReturnUnknownFieldPaths: !stored,
	})
	if err != nil {
		return nil, err
	}
	structural := s.load().structural
	if structural != nil && !s.preserve {
		paths := pruning.PruneWithOptions(u.Object, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: !stored})
		unknown = append(unknown, paths...)
		defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, structural)
	}
	if structural != nil {
		err, paths := objectmeta.CoerceWithOptions(nil, u.Object, structural, false, objectmeta.CoerceOptions{
			DropInvalidFields: stored, ReturnUnknownFieldPaths: !stored,
		})
		if err != nil {
			return nil, err
		}
		unknown = append(unknown, paths...)
	}
	if kind != "" {
		u.SetKind(kind)
	}
	if apiVersion != "" {
		u.SetAPIVersion(apiVersion)
	}
	if !found {
		return unknown, nil
	}
	return unknown, objectmeta.SetObjectMeta(u.Object, meta)
}

// Default fills in what the object does not say and the schema has a default for.
func (s *Schema) Default(u *unstructured.Unstructured) {
	if structural := s.load().structural; structural != nil {
		defaulting.Default(u.Object, structural)
	}
}

// Path is a simple JSON path, as in .spec.replicas.
type Path struct {
	text   string
	parser *jsonpath.JSONPath
}

// ParsePath reads a path. Errors: it is none.
func ParsePath(text string) (*Path, error) {
	p := &Path{text: text, parser: jsonpath.New(text).AllowMissingKeys(true)}
	return p, p.parser.Parse("{" + text + "}")
}

// Name is the path without its leading dot.
func (p *Path) Name() string { return strings.TrimPrefix(p.text, ".") }
