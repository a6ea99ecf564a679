package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"wherry/orchestrator/apiserver/auth"
)

// Allows says whether a rule allows what is asked.
func Allows(rule *rbacv1.PolicyRule, a *auth.Attributes) bool {
	if !hasOrAll(rule.Verbs, a.Verb) {
		return false
	}
	if !a.Resource {
		return allowsPath(rule.NonResourceURLs, a.Path)
	}
	return hasOrAll(rule.APIGroups, a.Group) && allowsResource(rule.Resources, a) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.Name))
}

func hasOrAll(list []string, one string) bool {
	for _, have := range list {
		if have == "*" || have == one {
			return true
		}
	}
	return false
}

// allowsResource knows "*", "pods", "pods/log" and "*/scale". "*" is all subresources, too.
func allowsResource(resources []string, a *auth.Attributes) bool {
	for _, have := range resources {
		plural, sub, isSub := strings.Cut(have, "/")
		switch {
		case have == "*":
			return true
		case isSub != (a.Subresource != "") || sub != a.Subresource:
		case plural == a.Plural, isSub && plural == "*":
			return true
		}
	}
	return false
}

// allowsPath knows paths and prefixes that end in "*".
func allowsPath(paths []string, asked string) bool {
	for _, have := range paths {
		if have == "*" || have == asked {
			return true
		}
		if strings.HasSuffix(have, "*") && strings.HasPrefix(asked, strings.TrimRight(have, "*")) {
			return true
		}
	}
	return false
}
