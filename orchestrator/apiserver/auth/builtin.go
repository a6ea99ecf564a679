package auth

import (
	"context"
	"slices"
	"strings"
)

// Builtin is the rule that needs no configuration: system:masters may do everything,
// everybody authenticated may ask what the server is and what it serves, and review his
// own rights, and anybody may ask whether it is well.
type Builtin struct{}

var (
	publicPaths    = []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}
	discoveryPaths = []string{"/api", "/api/*", "/apis", "/apis/*", "/healthz", "/healthz/*", "/livez", "/livez/*",
		"/openapi", "/openapi/*", "/readyz", "/readyz/*", "/version", "/version/"}
	selfReviews = map[string][]string{
		"authentication.k8s.io": {"selfsubjectreviews"},
		"authorization.k8s.io":  {"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
	}
)

// Authorize implements Authorizer.
func (Builtin) Authorize(_ context.Context, a *Attributes) (Decision, string, error) {
	switch {
	case a.User.In(GroupMasters):
		return Allow, "", nil
	case !a.Resource && a.Verb == "get" && matches(publicPaths, a.Path):
		return Allow, "", nil
	case !a.User.In(GroupAuthenticated):
		return NoOpinion, "", nil
	case !a.Resource && a.Verb == "get" && matches(discoveryPaths, a.Path):
		return Allow, "", nil
	case a.Resource && a.Verb == "create" && slices.Contains(selfReviews[a.Group], a.Plural):
		return Allow, "", nil
	}
	return NoOpinion, "", nil
}

func matches(paths []string, path string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		if prefix, any := strings.CutSuffix(p, "*"); any {
			return strings.HasPrefix(path, prefix)
		}
		return p == path
	})
}

// Rules implements Authorizer.
func (Builtin) Rules(_ context.Context, user *User, _ string) (Rules, error) {
	if user.In(GroupMasters) {
		any := []string{"*"}
		return Rules{
			Resources: []ResourceRule{{Verbs: any, Groups: any, Resources: any}},
			Paths:     []PathRule{{Verbs: any, Paths: any}},
		}, nil
	}
	rules := Rules{Paths: []PathRule{{Verbs: []string{"get"}, Paths: publicPaths}}}
	if user.In(GroupAuthenticated) {
		rules.Paths = append(rules.Paths, PathRule{Verbs: []string{"get"}, Paths: discoveryPaths})
		for _, group := range []string{"authentication.k8s.io", "authorization.k8s.io"} {
			rules.Resources = append(rules.Resources, ResourceRule{
				Verbs: []string{"create"}, Groups: []string{group}, Resources: selfReviews[group]})
		}
	}
	return rules, nil
}
