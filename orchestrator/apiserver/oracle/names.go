package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// names gives what differs between two runs of the same requests a name that does not: a uid is named
// by the object that it was first seen on, a resourceVersion by its object and how many it had, a time
// by where it stands. Names are the same for both servers if they behave alike. They read
// ⟨kind of value, what it belongs to⟩, and a request that holds one sends the server's own value.
type names struct {
	values   map[string]string // by name
	known    map[string]string // names by value: uids, generated names, addresses
	versions map[string]map[string]int
	counts   map[string]int
	begun    time.Time
}

func newNames() *names {
	return &names{
		values: map[string]string{}, known: map[string]string{}, versions: map[string]map[string]int{},
		counts: map[string]int{}, begun: time.Now().Add(-time.Minute),
	}
}

var (
	named      = regexp.MustCompile(`⟨[^⟩]*⟩`)
	namedPorts = regexp.MustCompile(`"⟨port[^⟩]*⟩"`)
)

// real puts the server's values in place of names.
func (n *names) real(s string) string {
	if !strings.Contains(s, "⟨") {
		return s
	}
	s = namedPorts.ReplaceAllStringFunc(s, func(name string) string { return strings.Trim(name, `"`) }) // they are numbers
	return named.ReplaceAllStringFunc(s, func(name string) string {
		if v, ok := n.values[name]; ok {
			return v
		}
		return unknown(name)
	})
}

// unknown is what stands for a name that has no value yet.
func unknown(name string) string {
	switch {
	case strings.HasPrefix(name, "⟨version"):
		return "1"
	case strings.HasPrefix(name, "⟨uid"):
		return "00000000-0000-0000-0000-000000000000"
	}
	return "unknown"
}

// alias gives value the name, which another value may have had before.
func (n *names) alias(name, value string) string {
	name = "⟨" + name + "⟩"
	n.known[value], n.values[name] = name, value
	return name
}

// note gives value a name, unless it has one: base, numbered when it was given to another value before.
func (n *names) note(base, value string) string {
	if name, ok := n.known[value]; ok {
		return name
	}
	n.counts[base]++
	name := base
	if count := n.counts[base]; count > 1 {
		name = fmt.Sprintf("%s %d", base, count)
	}
	name = "⟨" + name + "⟩"
	n.known[value], n.values[name] = name, value
	return name
}

// naming is one answer being named.
type naming struct {
	*names
	sent string // the body of the request
	kind string // of the items of a list
}

// document names what stands in a decoded JSON document that answers what was sent.
func (n *names) document(v any, sent string) any {
	w := &naming{names: n, sent: sent}
	if m, ok := v.(map[string]any); ok {
		if kind, _ := m["kind"].(string); strings.HasSuffix(kind, "List") {
			w.kind = strings.TrimSuffix(kind, "List")
		}
	}
	return w.value(v, owner{}, "")
}

// owner is the object that a value stands in.
type owner struct{ id, uid string }

func (w *naming) value(v any, o owner, path string) any {
	switch v := v.(type) {
	case map[string]any:
		return w.object(v, o, path)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = w.value(item, o, fmt.Sprintf("%s.%d", path, i))
		}
		return out
	case string:
		return w.text(v, o, path)
	case json.Number:
		if strings.HasSuffix(strings.ToLower(path), "nodeport") && !strings.Contains(w.sent, v.String()) {
			name := "⟨port" + path + " of " + o.id + "⟩"
			w.values[name] = v.String()
			return name
		}
	}
	return v
}

func (w *naming) object(m map[string]any, o owner, path string) any {
	if meta, ok := m["metadata"].(map[string]any); ok {
		if id, ok := w.identity(m, meta); ok {
			o, path = id, ""
		}
	}
	sortManagers(m)
	out := make(map[string]any, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) { // sorted: names count what was seen before
		at := path + "." + key
		if s, ok := m[key].(string); ok && strings.HasSuffix(at, "metadata.resourceVersion") && s != "" {
			out[key] = w.version(o, s)
			continue
		}
		if s, ok := m[key].(string); ok && at == ".metadata.continue" && s != "" {
			w.values["⟨continue⟩"] = s
			out[key] = "⟨continue⟩"
			continue
		}
		out[w.line(key)] = w.value(m[key], o, at)
	}
	settleCauses(out)
	settleRules(out)
	return table(out)
}

// sortManagers orders what the servers order by times of whole seconds, which passed between other requests.
func sortManagers(m map[string]any) {
	list, _ := m["managedFields"].([]any)
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(managerKey(a), managerKey(b)) })
}

func managerKey(v any) string {
	m, _ := v.(map[string]any)
	return fmt.Sprint(m["operation"], m["manager"], m["subresource"], m["apiVersion"])
}

// settleRules orders the rules that a review tells: kube-apiserver walks through maps.
func settleRules(m map[string]any) {
	for _, key := range []string{"resourceRules", "nonResourceRules"} {
		list, _ := m[key].([]any)
		slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(mustJSON(a), mustJSON(b)) })
	}
}

// settleCauses orders the causes of an error, which follow a walk through maps where labels or conflicts are
// concerned, and leaves them out of the message.
func settleCauses(status map[string]any) {
	details, _ := status["details"].(map[string]any)
	list, _ := details["causes"].([]any)
	if len(list) < 2 {
		return
	}
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(mustJSON(a), mustJSON(b)) })
	message, _ := status["message"].(string)
	if before, _, ok := strings.Cut(message, " is invalid: ["); ok {
		status["message"] = before + " is invalid: ⟨causes⟩"
	}
}

// identity notes the uid and the generated name of an object.
func (w *naming) identity(m, meta map[string]any) (owner, bool) {
	uid, _ := meta["uid"].(string)
	if uid == "" {
		return owner{}, false
	}
	kind, _ := m["kind"].(string)
	if kind == "" {
		kind = w.kind
	}
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	if prefix, _ := meta["generateName"].(string); prefix != "" && len(name) > 5 && strings.HasPrefix(prefix, name[:len(name)-5]) {
		name = w.note("name "+prefix, name)
	}
	id := strings.Trim(strings.TrimLeft(kind+" "+namespace+"/"+name, "/"), "⟨⟩")
	id = strings.NewReplacer("⟨", "(", "⟩", ")").Replace(id)
	name = w.note("uid "+id, uid)
	return owner{id: strings.TrimPrefix(strings.Trim(name, "⟨⟩"), "uid "), uid: uid}, true
}

// version names a resourceVersion: the n-th that the object was seen with, or just that of a list.
func (w *naming) version(o owner, s string) string {
	if o.uid == "" {
		w.values["⟨version⟩"] = s
		return "⟨version⟩"
	}
	seen := w.versions[o.uid]
	if seen == nil {
		seen = map[string]int{}
		w.versions[o.uid] = seen
	}
	if seen[s] == 0 {
		seen[s] = len(seen) + 1
	}
	name := fmt.Sprintf("⟨version %d of %s⟩", seen[s], o.id)
	w.values[name] = s
	w.values["⟨version of "+o.id+"⟩"] = s
	return name
}

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// access is the volume of a token, named at random.
	access = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`)
	// objects are what a patch made, with times and versions in it.
	objects = regexp.MustCompile(`(?s)Invalid value: "\{.*\}"`)
	reached = regexp.MustCompile(`current: \d+`)
	// records is a version that an error tells.
	records = regexp.MustCompile(`in record \(\d+\)`)
	times   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	hashes  = regexp.MustCompile(`hash=[0-9A-F]{64,}`)
	random  = regexp.MustCompile(`[a-z0-9.-]+`)
)

func (w *naming) text(s string, o owner, path string) string {
	if address(path) && strings.HasPrefix(s, "10.43.") && !strings.Contains(w.sent, s) && o.id != "" {
		return w.alias("address of "+o.id, s)
	}
	if name, ok := w.known[s]; ok {
		return name
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil && w.now(t) {
		name := fmt.Sprintf("⟨time%s of %s⟩", path, o.id)
		w.values[name] = s
		return name
	}
	return w.line(s)
}

func address(path string) bool {
	return path == ".spec.clusterIP" || strings.HasPrefix(path, ".spec.clusterIPs.")
}

// now says whether t was taken from the clock during this run.
func (n *names) now(t time.Time) bool {
	const ahead = 2 * time.Hour // expiry of tokens
	return t.After(n.begun) && t.Before(time.Now().Add(ahead))
}

// line names what stands inside of a text.
func (n *names) line(s string) string {
	s = uuids.ReplaceAllStringFunc(s, func(v string) string {
		if name, ok := n.known[v]; ok {
			return name
		}
		return v
	})
	s = times.ReplaceAllStringFunc(s, func(v string) string {
		if t, err := time.Parse(time.RFC3339, v); err == nil && n.now(t) {
			return "⟨time⟩"
		}
		return v
	})
	s = access.ReplaceAllString(s, "kube-api-access-⟨name⟩")
	s = objects.ReplaceAllString(s, `Invalid value: ⟨object⟩`)
	s = reached.ReplaceAllString(s, "current: ⟨version⟩")
	s = records.ReplaceAllString(s, "in record (⟨version⟩)")
	s = hashes.ReplaceAllString(s, "hash=⟨hash⟩")
	if len(s) > 4096 {
		return s
	}
	return random.ReplaceAllStringFunc(s, func(v string) string {
		if name, ok := n.known[v]; ok {
			return name
		}
		return v
	})
}

var (
	ages       = regexp.MustCompile(`^([0-4]m)?\d+s$|^[0-4]m$`)
	clusterIPs = regexp.MustCompile(`10\.43\.\d+\.\d+`)
	nodePorts  = regexp.MustCompile(`:3[0-2]\d\d\d/`)
	ageColumns = map[string]bool{"Age": true, "Duration": true, "Last Seen": true, "First Seen": true, "Last Schedule": true, "AGE": true}
)

// table names the ages in a Table of meta.k8s.io.
func table(m map[string]any) any {
	if m["kind"] != "Table" {
		return m
	}
	columns, _ := m["columnDefinitions"].([]any)
	rows, _ := m["rows"].([]any)
	for _, row := range rows {
		row, _ := row.(map[string]any)
		cells, _ := row["cells"].([]any)
		for i, cell := range cells {
			if s, ok := cell.(string); ok {
				cells[i] = nodePorts.ReplaceAllString(s, ":⟨port⟩/")
			}
			if s, ok := cells[i].(string); ok {
				cells[i] = clusterIPs.ReplaceAllString(s, "⟨address⟩")
			}
			if s, ok := cell.(string); ok && i < len(columns) && ages.MatchString(s) {
				if c, _ := columns[i].(map[string]any); c != nil && (ageColumns[fmt.Sprint(c["name"])] || c["format"] == "date") {
					cells[i] = "⟨age⟩"
				}
			}
		}
	}
	return m
}
