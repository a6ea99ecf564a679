// Package types writes and reads the types that managed fields are computed with, in a form that is small
// and quick to read: the server reads it before the first object is written.
package types

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// The shapes of schema.Schema with names of one letter.
type (
	def struct {
		Name string `json:"n"`
		atom
	}
	atom struct {
		Scalar schema.Scalar `json:"s,omitempty"`
		List   *list         `json:"l,omitempty"`
		Map    *mapping      `json:"m,omitempty"`
	}
	ref struct {
		Named string `json:"n,omitempty"`
		atom
		Relation schema.ElementRelationship `json:"r,omitempty"`
	}
	list struct {
		Element  ref                        `json:"e"`
		Relation schema.ElementRelationship `json:"r,omitempty"`
		Keys     []string                   `json:"k,omitempty"`
	}
	mapping struct {
		Fields   []field                    `json:"f,omitempty"`
		Element  ref                        `json:"e,omitzero"`
		Relation schema.ElementRelationship `json:"r,omitempty"`
	}
	field struct {
		Name    string `json:"n"`
		Type    ref    `json:"t"`
		Default any    `json:"d,omitempty"`
	}
)

// Encode writes types. Errors: a type with a union, which no type of Kubernetes has.
func Encode(types []schema.TypeDef) ([]byte, error) {
	defs := make([]def, 0, len(types))
	for _, t := range types {
		a, err := pack(t.Atom)
		if err != nil {
			return nil, fmt.Errorf("type %s: %w", t.Name, err)
		}
		defs = append(defs, def{t.Name, a})
	}
	return json.Marshal(defs)
}

func pack(a schema.Atom) (out atom, err error) {
	if a.Scalar != nil {
		out.Scalar = *a.Scalar
	}
	if l := a.List; l != nil {
		out.List = &list{Relation: l.ElementRelationship, Keys: l.Keys}
		if out.List.Element, err = packRef(l.ElementType); err != nil {
			return atom{}, err
		}
	}
	if a.Map != nil {
		out.Map, err = packMap(a.Map)
	}
	return out, err
}

func packMap(m *schema.Map) (*mapping, error) {
	if len(m.Unions) > 0 {
		return nil, fmt.Errorf("unions cannot be written")
	}
	element, err := packRef(m.ElementType)
	if err != nil {
		return nil, err
	}
	out := &mapping{Element: element, Relation: m.ElementRelationship}
	for _, f := range m.Fields {
		t, err := packRef(f.Type)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		out.Fields = append(out.Fields, field{f.Name, t, f.Default})
	}
	return out, nil
}

func packRef(r schema.TypeRef) (out ref, err error) {
	if r.NamedType != nil {
		out.Named = *r.NamedType
	}
	if r.ElementRelationship != nil {
		out.Relation = *r.ElementRelationship
	}
	out.atom, err = pack(r.Inlined)
	return out, err
}

// Decode reads what Encode wrote.
func Decode(b []byte) ([]schema.TypeDef, error) {
	var defs []def
	if err := json.Unmarshal(b, &defs); err != nil {
		return nil, err
	}
	u := unpacker{}
	types := make([]schema.TypeDef, 0, len(defs))
	for _, d := range defs {
		types = append(types, schema.TypeDef{Name: d.Name, Atom: u.atom(d.atom)})
	}
	return types, nil
}

// unpacker keeps the names of types, so that each is in memory once.
type unpacker map[string]*string

func (u unpacker) atom(a atom) (out schema.Atom) {
	if a.Scalar != "" {
		out.Scalar = &a.Scalar
	}
	if l := a.List; l != nil {
		out.List = &schema.List{ElementType: u.ref(l.Element), ElementRelationship: l.Relation, Keys: l.Keys}
	}
	if m := a.Map; m != nil {
		out.Map = &schema.Map{ElementType: u.ref(m.Element), ElementRelationship: m.Relation}
		for _, f := range m.Fields {
			out.Map.Fields = append(out.Map.Fields, schema.StructField{Name: f.Name, Type: u.ref(f.Type), Default: f.Default})
		}
	}
	return out
}

func (u unpacker) ref(r ref) schema.TypeRef {
	out := schema.TypeRef{Inlined: u.atom(r.atom)}
	if r.Named != "" {
		if u[r.Named] == nil {
			u[r.Named] = &r.Named
		}
		out.NamedType = u[r.Named]
	}
	if r.Relation != "" {
		out.ElementRelationship = &r.Relation
	}
	return out
}
