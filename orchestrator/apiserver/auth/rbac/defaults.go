package rbac

import (
	_ "embed"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed defaults.txt
var defaultsText string

const (
	controllerPrefix = "system:controller:"
	labelPrefix      = rbacv1.GroupName + "/"
)

// policy are roles and bindings.
type policy struct {
	clusterRoles        []*rbacv1.ClusterRole
	clusterRoleBindings []*rbacv1.ClusterRoleBinding
	roles               []*rbacv1.Role
	roleBindings        []*rbacv1.RoleBinding
}

// defaults are what every cluster has. The text is part of the program: a mistake in it panics.
func defaults() *policy {
	p := &policy{}
	var rules *[]rbacv1.PolicyRule
	for line := range strings.Lines(defaultsText) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case line[0] == '\t':
			*rules = append(*rules, parseRule(words))
		default:
			rules = p.add(words)
		}
	}
	for _, role := range p.clusterRoles {
		if account, ok := strings.CutPrefix(role.Name, controllerPrefix); ok {
			p.add([]string{"ClusterRoleBinding", role.Name, role.Name, "account=" + metav1.NamespaceSystem + "/" + account})
		}
	}
	return p
}

// add reads the line of an object, and returns where its rules belong.
func (p *policy) add(words []string) *[]rbacv1.PolicyRule {
	meta := parseMeta(words[1])
	switch words[0] {
	case "ClusterRole":
		role := &rbacv1.ClusterRole{ObjectMeta: meta}
		completeRole(role, words[2:])
		p.clusterRoles = append(p.clusterRoles, role)
		return &role.Rules
	case "Role":
		role := &rbacv1.Role{ObjectMeta: meta}
		p.roles = append(p.roles, role)
		return &role.Rules
	case "ClusterRoleBinding":
		p.clusterRoleBindings = append(p.clusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: roleRef("ClusterRole", words[2]), Subjects: parseSubjects(words[3:])})
	case "RoleBinding":
		p.roleBindings = append(p.roleBindings, &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: roleRef("Role", words[2]), Subjects: parseSubjects(words[3:])})
	default:
		panic("rbac: no default is a " + words[0])
	}
	return nil
}

func parseMeta(name string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{
		Name:        name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
	if namespace, name, ok := strings.Cut(name, "/"); ok {
		meta.Namespace, meta.Name = namespace, name
	}
	return meta
}

func completeRole(role *rbacv1.ClusterRole, words []string) {
	for _, word := range words {
		what, label, _ := strings.Cut(word, "=")
		if what == "label" {
			role.Labels[labelPrefix+label] = "true"
			continue
		}
		role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{labelPrefix + label: "true"}}}}
	}
}

func roleRef(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func parseRule(words []string) rbacv1.PolicyRule {
	rule := rbacv1.PolicyRule{Verbs: strings.Split(words[0], ",")}
	if words[1] == "url" {
		rule.NonResourceURLs = strings.Split(words[2], ",")
		return rule
	}
	for _, group := range strings.Split(words[1], ",") {
		if group == "core" {
			group = ""
		}
		rule.APIGroups = append(rule.APIGroups, group)
	}
	rule.Resources = strings.Split(words[2], ",")
	if len(words) > 3 {
		rule.ResourceNames = strings.Split(words[3], ",")
	}
	return rule
}

func parseSubjects(words []string) []rbacv1.Subject {
	var all []rbacv1.Subject
	for _, word := range words {
		kind, name, _ := strings.Cut(word, "=")
		switch kind {
		case "user":
			all = append(all, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name})
		case "group":
			all = append(all, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name})
		case "account":
			namespace, account, _ := strings.Cut(name, "/")
			all = append(all, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account})
		default:
			panic(fmt.Sprintf("rbac: no subject is a %s", kind))
		}
	}
	return all
}

// NodeRules are the rules of the role system:node, which no binding gives: the node authorizer
// asks them for what it does not judge itself.
func NodeRules() []rbacv1.PolicyRule {
	for _, role := range defaults().clusterRoles {
		if role.Name == "system:node" {
			return role.Rules
		}
	}
	panic("rbac: there is no default role system:node")
}
