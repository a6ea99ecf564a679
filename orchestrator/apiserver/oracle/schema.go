package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

// Schema is what a server publishes of a type, as much of it as values are made from.
type Schema struct {
	Ref                  string             `json:"$ref"`
	AllOf                []*Schema          `json:"allOf"`
	OneOf                []*Schema          `json:"oneOf"`
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Enum                 []any              `json:"enum"`
	Properties           map[string]*Schema `json:"properties"`
	AdditionalProperties *Schema            `json:"additionalProperties"`
	Items                *Schema            `json:"items"`
	Required             []string           `json:"required"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	IntOrString          bool               `json:"x-kubernetes-int-or-string"`
	PreserveUnknown      bool               `json:"x-kubernetes-preserve-unknown-fields"`
	Kinds                []GroupVersionKind `json:"x-kubernetes-group-version-kind"`
}

// GroupVersionKind is one of those that a type is.
type GroupVersionKind struct{ Group, Version, Kind string }

// UnmarshalJSON reads a schema; `true` and `false` are schemas, too.
func (s *Schema) UnmarshalJSON(b []byte) error {
	if string(b) == "true" || string(b) == "false" {
		return nil
	}
	type plain Schema
	return json.Unmarshal(b, (*plain)(s))
}

// Schemas are those of one group and version, by name.
type Schemas map[string]*Schema

// schemas reads kube-apiserver's schemas of a group and version, as in "apps/v1".
func (p *Pair) schemas(ctx context.Context, groupVersion string) (Schemas, error) {
	path := "/openapi/v3/apis/" + groupVersion
	if !strings.Contains(groupVersion, "/") {
		path = "/openapi/v3/api/" + groupVersion
	}
	a, err := p.Theirs.Do(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return nil, err
	}
	var document struct {
		Components struct{ Schemas Schemas }
	}
	if err := json.Unmarshal(a.Body, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return document.Components.Schemas, nil
}

// kind is the schema of a kind.
func (s Schemas) kind(gvk GroupVersionKind) (*Schema, bool) {
	for _, schema := range s {
		if slices.Contains(schema.Kinds, gvk) && schema.Properties["metadata"] != nil && len(schema.Kinds) == 1 {
			return schema, true
		}
	}
	return nil, false
}

const refPrefix = "#/components/schemas/"

// follow resolves references. It also says the name of the last one.
func (s Schemas) follow(schema *Schema) (*Schema, string) {
	name := ""
	for range 10 {
		switch {
		case schema.Ref != "":
			name = strings.TrimPrefix(schema.Ref, refPrefix)
			if s[name] == nil {
				return &Schema{}, name
			}
			schema = s[name]
		case len(schema.AllOf) == 1:
			schema = schema.AllOf[0]
		default:
			return schema, name
		}
	}
	return schema, name
}

// maker makes values of schemas.
type maker struct {
	*rand.Rand
	schemas Schemas
	// wild is how many of a hundred values are of the kind that breaks things.
	wild int
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (m *maker) chance(percent int) bool { return m.IntN(100) < percent }

// value makes a value with what is required and little more. field is the name of the property that it is for.
func (m *maker) value(schema *Schema, field string, depth int) any {
	schema, name := m.schemas.follow(schema)
	if m.chance(m.wild) && m.chance(20) {
		return pick(m.Rand, []any{nil, "x", 1, true, []any{}, map[string]any{}, -1.5})
	}
	switch {
	case len(schema.Enum) > 0 && !m.chance(m.wild):
		return pick(m.Rand, schema.Enum)
	case strings.HasSuffix(name, "resource.Quantity"):
		return m.text(quantities)
	case strings.HasSuffix(name, "intstr.IntOrString") || schema.IntOrString:
		return pick(m.Rand, []any{1, 80, "25%", "http", "100%", 0})
	case strings.HasSuffix(name, "FieldsV1"):
		return map[string]any{"f:data": map[string]any{}}
	case len(schema.OneOf) > 0:
		return m.value(pick(m.Rand, schema.OneOf), field, depth)
	}
	switch schema.Type {
	case "object", "":
		return m.object(schema, depth)
	case "array":
		if depth <= 0 {
			return []any{}
		}
		return []any{m.value(schema.Items, field, depth-1)}
	case "boolean":
		return m.IntN(2) == 0
	case "integer", "number":
		return m.number(field)
	}
	return m.string(schema.Format, field)
}

func (m *maker) object(schema *Schema, depth int) any {
	out := map[string]any{}
	if schema.AdditionalProperties != nil && depth > 0 {
		out[m.key()] = m.value(schema.AdditionalProperties, "", depth-1)
		return out
	}
	for _, name := range schema.Required {
		if p := schema.Properties[name]; p != nil && depth > -8 {
			out[name] = m.value(p, name, depth-1)
		}
	}
	names := slices.Sorted(maps.Keys(schema.Properties))
	for range m.IntN(3) {
		if len(names) == 0 || depth <= 0 {
			break
		}
		name := pick(m.Rand, names)
		out[name] = m.value(schema.Properties[name], name, depth-1)
	}
	return out
}

var (
	quantities = []string{"1", "100m", "1Gi", "64Mi", "0", "2", "500m", "1.5", "1e3"}
	words      = []string{"a", "b", "web", "x-1", "c", "some"}
	odd        = []string{"", "UPPER", "a/b", strings.Repeat("x", 64), strings.Repeat("y", 254), "-x", "ünï", "a.b", " ", "0", "../x",
		"example.com/a", "a_b", "{{x}}", "$(X)", "a b", "x\ny", "1Gi", "10.0.0.1", "::1", "*.example.com", "http://x/", "None", "1e400", "*"}
	keys = []string{"a", "b", "example.com/role", "app", "cpu", "memory", "kubernetes.io/hostname", "x.y"}
)

func (m *maker) text(usual []string) string {
	if m.chance(m.wild) {
		return pick(m.Rand, odd)
	}
	return pick(m.Rand, usual)
}

func (m *maker) key() string { return m.text(keys) }

func (m *maker) number(field string) any {
	lower := strings.ToLower(field)
	switch {
	case m.chance(m.wild):
		return pick(m.Rand, []any{-1, 0, 65536, 1 << 31, 1e18, 0.5, 2147483647, 1000000, 99999})
	case strings.Contains(lower, "nodeport"):
		return 30000 + m.IntN(2768)
	case strings.Contains(lower, "port"):
		return pick(m.Rand, []any{80, 443, 8080, 9090})
	case strings.Contains(lower, "mode"):
		return pick(m.Rand, []any{420, 256, 511})
	case strings.Contains(lower, "weight"):
		return 1 + m.IntN(100)
	}
	return pick(m.Rand, []any{0, 1, 2, 3, 5, 10, 30, 60, 100, 1000})
}

// usual are likely values of strings, by a part of the property's name.
var usual = []struct {
	part   string
	values []string
}{
	{"cidr", []string{"10.0.0.0/24", "192.168.0.0/16", "2001:db8::/64"}},
	{"clusterip", []string{"None", ""}},
	{"ipfamil", []string{"IPv4"}},
	{"hostnames", []string{"a.example.com"}},
	{"ip", []string{"10.0.0.1", "192.168.1.7", "2001:db8::1"}},
	{"mountpath", []string{"/mnt/a", "/b"}},
	{"path", []string{"/", "/a/b", "data"}},
	{"image", []string{"nginx:1", "registry.example.com/x@sha256:" + strings.Repeat("a", 64)}},
	{"uid", []string{"11111111-2222-3333-4444-555555555555"}},
	{"apigroup", []string{"apps", "", "example.com"}},
	{"apiversion", []string{"v1", "apps/v1"}},
	{"kind", []string{"Pod", "Deployment", "ConfigMap", "User", "ServiceAccount"}},
	{"verbs", []string{"get", "list", "*", "create"}},
	{"resources", []string{"pods", "configmaps", "*", "pods/log"}},
	{"operator", []string{"In", "Exists", "Equal", "DoesNotExist", "NotIn"}},
	{"effect", []string{"NoSchedule", "NoExecute", "PreferNoSchedule"}},
	{"status", []string{"True", "False", "Unknown"}},
	{"protocol", []string{"TCP", "UDP", "SCTP"}},
	{"schedule", []string{"* * * * *", "@hourly", "5 4 * * 1"}},
	{"timezone", []string{"Europe/Berlin", "UTC"}},
	{"url", []string{"https://example.com/x"}},
	{"expression", []string{"true", "object.metadata.name != 'x'"}},
	{"topologykey", []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"}},
	{"provisioner", []string{"example.com/disk"}},
	{"driver", []string{"csi.example.com"}},
	{"controller", []string{"example.com/controller"}},
	{"finalizers", []string{"example.com/f"}},
	{"type", []string{"Ready", "Available", "Opaque"}},
	{"host", []string{"a.example.com", "example.org"}},
	{"namespace", []string{"default", "kube-system"}},
	{"key", keys},
}

func (m *maker) string(format, field string) any {
	lower := strings.ToLower(field)
	switch {
	case m.chance(m.wild):
		return pick(m.Rand, odd)
	case format == "date-time" && strings.HasSuffix(lower, "microtime"), lower == "renewtime", lower == "acquiretime", lower == "eventtime":
		return "2020-02-03T04:05:06.000007Z"
	case format == "date-time":
		return pick(m.Rand, []string{"2020-02-03T04:05:06Z", "2021-02-03T04:05:06Z"})
	case format == "byte":
		return pick(m.Rand, []string{"aGVsbG8=", "", "eA=="})
	}
	for _, u := range usual {
		if strings.Contains(lower, u.part) {
			return pick(m.Rand, u.values)
		}
	}
	return pick(m.Rand, words)
}
