package state

import (
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
)

// Selector narrows a List or Watch; the zero value selects all of the kind. Owner and
// Node are answered from indexes, and so are the fields metadata.name,
// metadata.namespace and a pod's spec.nodeName.
type Selector struct {
	Namespace string
	Name      string
	Labels    labels.Selector
	Fields    fields.Selector
	Owner     types.UID // objects with an owner reference to it
	Node      string    // pods with this spec.nodeName
}

// matcher is a Selector made ready for one kind.
type matcher struct {
	Selector
	kind   *resource.Kind
	fields fields.Selector // what is left of Fields; nil if nothing
	never  bool            // it contradicts itself
}

func newMatcher(k *resource.Kind, sel Selector) *matcher {
	m := &matcher{Selector: sel, kind: k}
	if m.Labels != nil && m.Labels.Empty() {
		m.Labels = nil
	}
	if sel.Fields == nil || sel.Fields.Empty() {
		return m
	}
	m.fields = sel.Fields
	m.take("metadata.name", &m.Name)
	m.take("metadata.namespace", &m.Namespace)
	if k.Group == "" && k.Kind == "Pod" {
		m.take("spec.nodeName", &m.Node)
	}
	if m.fields.Empty() {
		m.fields = nil
	}
	return m
}

// take moves a field that must equal one value into the selector's own.
func (m *matcher) take(name string, into *string) {
	value, ok := m.fields.RequiresExactMatch(name)
	if !ok || value == "" {
		return
	}
	m.never = m.never || *into != "" && *into != value
	*into = value
	rest, err := m.fields.Transform(func(field, v string) (string, string, error) {
		if field == name && v == value {
			return "", "", nil
		}
		return field, v, nil
	})
	if err == nil && !negates(m.fields, name) {
		m.fields = rest
	}
}

// negates says whether a field is also compared with !=, which Transform would drop.
func negates(sel fields.Selector, name string) bool {
	n := 0
	for _, r := range sel.Requirements() {
		if r.Field == name {
			n++
		}
	}
	return n > 1
}

// narrow says that it selects by more than the namespace.
func (m *matcher) narrow() bool {
	return m.never || m.Name != "" || m.Labels != nil || m.fields != nil || m.Owner != "" || m.Node != ""
}

// matches is asked in the order of what it costs.
func (m *matcher) matches(e *Entry) bool {
	switch {
	case m.never,
		m.Namespace != "" && !inNamespace(e.key, m.Namespace),
		m.Name != "" && e.Name() != m.Name,
		m.Node != "" && e.node != m.Node,
		m.Owner != "" && !e.ownedBy(m.Owner),
		m.Labels != nil && !m.Labels.Matches(e.labels):
		return false
	}
	return m.fields == nil || m.fields.Matches(m.fieldsOf(e))
}

func (m *matcher) fieldsOf(e *Entry) fields.Set {
	set := fields.Set{}
	if m.kind.Fields != nil {
		for k, v := range m.kind.Fields(e.Object()) {
			set[k] = v
		}
	}
	set["metadata.name"] = e.Name()
	if m.kind.Namespaced {
		set["metadata.namespace"] = e.Namespace()
	}
	return set
}

func inNamespace(key, namespace string) bool {
	return len(key) > len(namespace) && key[len(namespace)] == '/' && strings.HasPrefix(key, namespace)
}

func (e *Entry) ownedBy(owner types.UID) bool {
	for _, uid := range e.owners {
		if uid == owner {
			return true
		}
	}
	return false
}

// view is a table as it was at one moment, in the tree through which a selector is
// answered soonest.
type view struct {
	through *tree
	prefix  string // of what is selected in it
}

// scan walks what is selected, in key order, after a key.
func (v view) scan(m *matcher, after string, visit func(*Entry) bool) {
	prefix := v.prefix
	if after != "" {
		after = prefix + after
	}
	if m.Namespace != "" || !m.kind.Namespaced {
		prefix += m.Namespace + "/"
		if m.Name != "" {
			prefix += m.Name
		}
	}
	ascend(v.through, prefix, after, func(e *Entry) bool {
		if m.never {
			return false
		}
		return !m.matches(e) || visit(e)
	})
}
