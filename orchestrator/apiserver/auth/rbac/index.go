package rbac

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"wherry/orchestrator/apiserver/auth"
)

// index finds the rules that apply to a user without looking at what does not.
type index struct {
	roles    map[place][]rbacv1.PolicyRule
	bindings map[place]*binding
	// bySubject holds the bindings that name a subject, by the role that they give, each list by name: a
	// role is asked once, however many bindings give it.
	bySubject map[subject]map[rbacv1.RoleRef][]*binding
}

// place is where an object is; namespace is "" for cluster roles and their bindings.
type place struct{ namespace, name string }

// subject is whom bindings of a namespace name. Accounts are users by their long name.
type subject struct {
	namespace string
	group     bool
	name      string
}

// binding is a ClusterRoleBinding or RoleBinding.
type binding struct {
	place
	role     rbacv1.RoleRef
	subjects []rbacv1.Subject
}

func newIndex() *index {
	return &index{
		roles:     map[place][]rbacv1.PolicyRule{},
		bindings:  map[place]*binding{},
		bySubject: map[subject]map[rbacv1.RoleRef][]*binding{},
	}
}

// bind takes b in, for what was at its place.
func (x *index) bind(b *binding) {
	x.unbind(b.place)
	x.bindings[b.place] = b
	for _, s := range b.keys() {
		roles := x.bySubject[s]
		if roles == nil {
			roles = map[rbacv1.RoleRef][]*binding{}
			x.bySubject[s] = roles
		}
		if i, there := slices.BinarySearchFunc(roles[b.role], b, compareBindings); !there {
			roles[b.role] = slices.Insert(roles[b.role], i, b)
		}
	}
}

func (x *index) unbind(at place) {
	b, ok := x.bindings[at]
	if !ok {
		return
	}
	delete(x.bindings, at)
	for _, s := range b.keys() {
		roles := x.bySubject[s]
		if i, there := slices.BinarySearchFunc(roles[b.role], b, compareBindings); there {
			roles[b.role] = slices.Delete(roles[b.role], i, i+1)
		}
		if len(roles[b.role]) == 0 {
			delete(roles, b.role)
		}
		if len(roles) == 0 {
			delete(x.bySubject, s)
		}
	}
}

func compareBindings(a, b *binding) int { return strings.Compare(a.name, b.name) }

// keys are the subjects of a binding as users are looked up.
func (b *binding) keys() []subject {
	keys := make([]subject, 0, len(b.subjects))
	for _, s := range b.subjects {
		if group, name, ok := b.names(s); ok {
			keys = append(keys, subject{b.namespace, group, name})
		}
	}
	return keys
}

// names is the user or group that a subject of the binding means.
func (b *binding) names(s rbacv1.Subject) (group bool, name string, ok bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return false, s.Name, true
	case rbacv1.GroupKind:
		return true, s.Name, true
	case rbacv1.ServiceAccountKind:
		namespace := s.Namespace
		if namespace == "" {
			namespace = b.namespace
		}
		return false, auth.ServiceAccountPrefix + namespace + ":" + s.Name, namespace != ""
	}
	return false, "", false
}

// visit walks the rules that apply to user in a namespace, those of the whole cluster first,
// until found says that it has seen enough. Errors are of bindings whose role is not there.
func (x *index) visit(user *auth.User, namespace string, found func(b *binding, rule *rbacv1.PolicyRule) (enough bool)) []error {
	scopes := []string{"", namespace}
	if namespace == "" {
		scopes = scopes[:1]
	}
	var errs []error
	for _, scope := range scopes {
		done, missing := x.visitScope(user, scope, found)
		errs = append(errs, missing...)
		if done {
			break
		}
	}
	return errs
}

func (x *index) visitScope(user *auth.User, scope string, found func(*binding, *rbacv1.PolicyRule) bool) (done bool, errs []error) {
	at := subject{namespace: scope, name: user.Name}
	for i := -1; i < len(user.Groups); i++ {
		if i >= 0 {
			at.group, at.name = true, user.Groups[i]
		}
		for role, bindings := range x.bySubject[at] {
			rules, err := x.rules(role, scope)
			if err != nil {
				errs = append(errs, err)
			}
			for i := range rules {
				if found(bindings[0], &rules[i]) {
					return true, errs
				}
			}
		}
	}
	return false, errs
}

// rules are those of a role that a binding in a namespace refers to.
func (x *index) rules(role rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	at, plural := place{name: role.Name}, "clusterrole"
	switch role.Kind {
	case "ClusterRole":
	case "Role":
		at.namespace, plural = namespace, "role"
	default:
		return nil, fmt.Errorf("unsupported role reference kind: %q", role.Kind)
	}
	rules, ok := x.roles[at]
	if !ok || plural == "role" && namespace == "" {
		return nil, fmt.Errorf("%s.%s %q not found", plural, rbacv1.GroupName, role.Name)
	}
	return rules, nil
}

// describe names the binding, and the first of its subjects that is the user.
func (b *binding) describe(user *auth.User) string {
	kind, name := "ClusterRoleBinding", b.name
	if b.namespace != "" {
		kind, name = "RoleBinding", b.name+"/"+b.namespace
	}
	text := fmt.Sprintf("%s %q of %s %q", kind, name, b.role.Kind, b.role.Name)
	for _, s := range b.subjects {
		group, who, ok := b.names(s)
		if !ok || group && !user.In(who) || !group && who != user.Name {
			continue
		}
		if s.Kind == rbacv1.ServiceAccountKind {
			namespace, account, _ := strings.Cut(strings.TrimPrefix(who, auth.ServiceAccountPrefix), ":")
			return fmt.Sprintf("%s to %s %q", text, s.Kind, account+"/"+namespace)
		}
		return fmt.Sprintf("%s to %s %q", text, s.Kind, s.Name)
	}
	return text
}

// all gathers the rules of a user, each role's once in each scope, in an order that does not change by itself.
func (x *index) all(user *auth.User, namespace string) ([]rbacv1.PolicyRule, []error) {
	of := map[string][]rbacv1.PolicyRule{}
	seen := map[*rbacv1.PolicyRule]bool{}
	errs := x.visit(user, namespace, func(b *binding, rule *rbacv1.PolicyRule) bool {
		if !seen[rule] {
			seen[rule] = true
			key := b.namespace + "/" + b.role.Kind + "/" + b.role.Name
			of[key] = append(of[key], *rule)
		}
		return false
	})
	var rules []rbacv1.PolicyRule
	for _, key := range slices.Sorted(maps.Keys(of)) {
		rules = append(rules, of[key]...)
	}
	return rules, errs
}
