package oracle

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/yaml"
)

// Difference is one place at which two answers are not the same.
type Difference struct {
	Where        string // status, header NAME, or body and a path
	Theirs, Ours string
}

func (d Difference) String() string { return fmt.Sprintf("%s: %s | %s", d.Where, d.Theirs, d.Ours) }

// compared are the headers that clients look at.
var compared = []string{"Content-Type", "Warning", "Retry-After", "Allow", "Location", "Cache-Control", "Www-Authenticate", "Vary"}

// nothing stands for what one side does not have.
const nothing = "-"

// compare names both answers and tells their differences. It also returns the documents of both
// for who goes on with them; nil: the body is no document.
func (p *Pair) compare(r Request, theirs, ours Answer) (differences []Difference, documents [2]any) {
	sides := [2]Answer{theirs, ours}
	for i, s := range []*Server{p.Theirs, p.Ours} {
		if doc, ok := decode(sides[i]); ok {
			if m, ok := doc.(map[string]any); ok && listed[m["kind"]] {
				doc = keyed(doc)
			}
			documents[i] = s.names.document(doc, r.Body)
		}
	}
	if theirs.Status != ours.Status {
		return []Difference{{"status", told(theirs, documents[0]), told(ours, documents[1])}}, documents
	}
	for _, h := range compared {
		a, b := p.header(p.Theirs, theirs.Header, h), p.header(p.Ours, ours.Header, h)
		if a != b {
			differences = append(differences, Difference{"header " + h, a, b})
		}
	}
	if documents[0] == nil || documents[1] == nil {
		a, b := p.Theirs.names.line(string(theirs.Body)), p.Ours.names.line(string(ours.Body))
		if a != b {
			differences = append(differences, Difference{"body", shorten(a, 300), shorten(b, 300)})
		}
		return differences, documents
	}
	return diff(differences, "body", documents[0], documents[1]), documents
}

func (p *Pair) header(s *Server, h http.Header, name string) string {
	values := h.Values(name)
	if len(values) == 0 {
		return nothing
	}
	return s.names.line(strings.Join(values, ", "))
}

// told is a status code with what was said about it.
func told(a Answer, document any) string {
	if m, ok := document.(map[string]any); ok && m["kind"] == "Status" {
		return fmt.Sprintf("%d %v: %v", a.Status, m["reason"], m["message"])
	}
	if a.Status >= 300 {
		return fmt.Sprintf("%d %s", a.Status, shorten(strings.TrimSpace(string(a.Body)), 200))
	}
	return fmt.Sprint(a.Status)
}

// decode makes a document of JSON, of a stream of JSON (a list), of YAML or of protobuf.
func decode(a Answer) (any, bool) {
	if bytes.HasPrefix(a.Body, []byte("k8s\x00")) {
		return decodeProtobuf(a.Body)
	}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/vnd.kubernetes.protobuf;stream=watch") {
		return decodeFrames(a.Body)
	}
	text := a.Body
	if a.Header.Get("Content-Type") == "application/yaml" {
		var err error
		if text, err = yaml.YAMLToJSON(text); err != nil {
			return nil, false
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var documents []any
	for d.More() {
		var v any
		if d.Decode(&v) != nil {
			return nil, false
		}
		documents = append(documents, v)
	}
	switch len(documents) {
	case 0:
		return nil, false
	case 1:
		return documents[0], true
	}
	return documents, true
}

// decodeProtobuf reads an object in protobuf as the JSON that says the same.
func decodeProtobuf(b []byte) (any, bool) {
	obj, gvk, err := legacyscheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
	if err != nil {
		var unknown runtime.Unknown
		if len(b) > 4 && unknown.Unmarshal(b[4:]) == nil {
			return map[string]any{"undecodable": unknown.TypeMeta.Kind, "error": err.Error()}, true
		}
		return nil, false
	}
	obj.GetObjectKind().SetGroupVersionKind(*cmpOr(gvk, &schema.GroupVersionKind{}))
	text, err := json.Marshal(obj)
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	return v, d.Decode(&v) == nil
}

// decodeFrames reads the events of a watch in protobuf.
func decodeFrames(b []byte) (any, bool) {
	events := []any{}
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b))
		if n > len(b)-4 {
			return nil, false
		}
		var e metav1.WatchEvent
		if e.Unmarshal(b[4:4+n]) != nil {
			return nil, false
		}
		object, ok := decodeProtobuf(e.Object.Raw)
		if !ok {
			return nil, false
		}
		events = append(events, map[string]any{"type": e.Type, "object": object})
		b = b[4+n:]
	}
	return events, true
}

func cmpOr[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// diff appends where two documents are not the same.
func diff(all []Difference, path string, a, b any) []Difference {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(x)
		maps.Copy(keys, y)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			v, inX := x[key]
			w, inY := y[key]
			switch {
			case !inX:
				all = append(all, Difference{path + "." + key, nothing, compact(w)})
			case !inY:
				all = append(all, Difference{path + "." + key, compact(v), nothing})
			default:
				all = diff(all, path+"."+key, v, w)
			}
		}
		return all
	case []any:
		y, ok := b.([]any)
		if !ok {
			break
		}
		for i := range min(len(x), len(y)) {
			all = diff(all, fmt.Sprintf("%s[%d]", path, i), x[i], y[i])
		}
		for i := len(y); i < len(x); i++ {
			all = append(all, Difference{fmt.Sprintf("%s[%d]", path, i), compact(x[i]), nothing})
		}
		for i := len(x); i < len(y); i++ {
			all = append(all, Difference{fmt.Sprintf("%s[%d]", path, i), nothing, compact(y[i])})
		}
		return all
	}
	if s, t := mustJSON(a), mustJSON(b); s != t {
		all = append(all, Difference{path, shorten(s, shown), shorten(t, shown)})
	}
	return all
}

// shown is how much is shown of a value.
const shown = 600

func compact(v any) string { return shorten(mustJSON(v), shown) }

func mustJSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("a document cannot be JSON: %v", err)) // it was made of JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// listed are kinds of documents whose lists are sets: discovery.
var listed = map[any]bool{"APIVersions": true, "APIGroupList": true, "APIGroup": true, "APIResourceList": true, "APIGroupDiscoveryList": true}

// keyed makes the lists of a discovery document maps, by what names their items.
func keyed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = keyed(v[key])
		}
	case []any:
		out := map[string]any{}
		for i, item := range v {
			out[itemKey(i, item)] = keyed(item)
		}
		return out
	}
	return v
}

func itemKey(i int, item any) string {
	m, ok := item.(map[string]any)
	if !ok {
		return fmt.Sprint(i)
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		return fmt.Sprint(meta["name"])
	}
	for _, key := range []string{"name", "groupVersion", "resource", "subresource", "version", "clientCIDR"} {
		if s, ok := m[key].(string); ok {
			return s
		}
	}
	return fmt.Sprint(i)
}
