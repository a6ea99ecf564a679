package oracle

import (
	"maps"
	"slices"
)

// grow changes one place of a document of the schema, in place: mostly it adds a property, an item or a key that is
// not there, sometimes it puts another value in place of one. It stays out of what the server alone decides.
func (m *maker) grow(schema *Schema, v any, field string) any {
	schema, _ = m.schemas.follow(schema)
	switch v := v.(type) {
	case map[string]any:
		if schema.Properties != nil {
			return m.growObject(schema, v)
		}
		if schema.AdditionalProperties != nil {
			key := m.key()
			if len(v) > 0 && m.chance(30) {
				key = pick(m.Rand, slices.Sorted(maps.Keys(v)))
			}
			v[key] = m.value(schema.AdditionalProperties, key, 2)
			return v
		}
	case []any:
		if schema.Items == nil {
			break
		}
		if len(v) == 0 || m.chance(25) {
			return append(v, m.value(schema.Items, field, 3))
		}
		i := m.IntN(len(v))
		v[i] = m.grow(schema.Items, v[i], field)
		return v
	}
	return m.value(schema, field, 3)
}

// decided are fields of metadata that grow leaves alone.
var decided = map[string]bool{
	"name": true, "namespace": true, "uid": true, "resourceVersion": true, "creationTimestamp": true, "deletionTimestamp": true,
	"deletionGracePeriodSeconds": true, "generation": true, "managedFields": true, "selfLink": true, "generateName": true,
}

func (m *maker) growObject(schema *Schema, v map[string]any) any {
	isMetadata := schema.Properties["managedFields"] != nil && schema.Properties["ownerReferences"] != nil
	isRoot := schema.Properties["metadata"] != nil && schema.Properties["apiVersion"] != nil
	var absent, present []string
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		switch _, has := v[name]; {
		case isMetadata && decided[name], isRoot && (name == "apiVersion" || name == "kind"):
		case isRoot && name == "metadata" && !m.chance(15):
		case isRoot && name == "status":
		case has:
			present = append(present, name)
		default:
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 && (len(present) == 0 || m.chance(35)) {
		name := pick(m.Rand, absent)
		v[name] = m.value(schema.Properties[name], name, 3)
		return v
	}
	if len(present) > 0 {
		name := pick(m.Rand, present)
		v[name] = m.grow(schema.Properties[name], v[name], name)
	}
	return v
}

// damage removes, doubles or replaces one place somewhere in the document, in place.
func (m *maker) damage(v any) any {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(v)), func(k string) bool { return k == "apiVersion" || k == "kind" || k == "managedFields" })
		if len(keys) == 0 {
			return v
		}
		key := pick(m.Rand, keys)
		if key == "metadata" && !m.chance(20) {
			key = pick(m.Rand, keys)
		}
		switch {
		case m.chance(12):
			delete(v, key)
		case m.chance(3):
			v["unknown"] = v[key]
		default:
			v[key] = m.damage(v[key])
		}
		return v
	case []any:
		if len(v) == 0 {
			return v
		}
		i := m.IntN(len(v))
		switch {
		case m.chance(10):
			return append(v, clone(v[i]))
		case m.chance(10):
			return slices.Delete(v, i, i+1)
		}
		v[i] = m.damage(v[i])
		return v
	case string:
		return pick(m.Rand, odd)
	case bool:
		return !v
	}
	return pick(m.Rand, []any{-1, 0, 1, 65536, 1 << 31, 7, 100000})
}

// clone copies a document.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = clone(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = clone(item)
		}
		return out
	}
	return v
}
