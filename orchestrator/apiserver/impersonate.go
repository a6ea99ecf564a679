package apiserver

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver/auth"
)

// impersonation is one thing that a request's headers ask to be: each is judged by itself.
type impersonation struct {
	corev1.ObjectReference // as Kubernetes' refusal prints it
	attributes             auth.Attributes
}

// impersonated is the user that the request acts as: user himself, or whom the headers
// Impersonate-* ask for, if user may be each part of him. The headers are removed. Errors: 400, 403.
func (s *Server) impersonated(r *http.Request, user *auth.User) (*auth.User, error) {
	wanted, parts, err := readImpersonation(r.Header)
	if wanted == nil || err != nil {
		return user, err
	}
	for i := range parts {
		a := &parts[i].attributes
		a.User, a.Verb, a.Resource = user, "impersonate", true
		decision, reason, err := s.cfg.Authorizer.Authorize(r.Context(), a)
		if err != nil || decision != auth.Allow {
			return nil, auth.Forbidden(a, reason)
		}
	}
	for name := range r.Header {
		if isImpersonation(name) {
			r.Header.Del(name)
		}
	}
	wanted.By = user
	return wanted, nil
}

func isImpersonation(header string) bool {
	switch header {
	case authenticationv1.ImpersonateUserHeader, authenticationv1.ImpersonateGroupHeader, authenticationv1.ImpersonateUIDHeader:
		return true
	}
	return strings.HasPrefix(header, authenticationv1.ImpersonateUserExtraHeaderPrefix)
}

// readImpersonation returns the user that headers ask for, and what there is to judge; nil if they ask for nothing.
func readImpersonation(h http.Header) (*auth.User, []impersonation, error) {
	wanted := &auth.User{Name: h.Get(authenticationv1.ImpersonateUserHeader), UID: h.Get(authenticationv1.ImpersonateUIDHeader), Extra: map[string][]string{}}
	parts := nameParts(wanted)
	for _, group := range h[authenticationv1.ImpersonateGroupHeader] {
		wanted.Groups = append(wanted.Groups, group)
		parts = append(parts, impersonation{corev1.ObjectReference{Kind: "Group", Name: group}, auth.Attributes{Plural: "groups", Name: group}})
	}
	version := authenticationv1.SchemeGroupVersion
	for _, header := range headersOf(h) {
		key := extraKey(header)
		for _, value := range h[header] {
			wanted.Extra[key] = append(wanted.Extra[key], value)
			parts = append(parts, impersonation{
				corev1.ObjectReference{Kind: "UserExtra", APIVersion: version.String(), Name: value, FieldPath: key},
				auth.Attributes{Group: version.Group, Version: version.Version, Plural: "userextras", Subresource: key, Name: value}})
		}
	}
	if uid := wanted.UID; uid != "" {
		parts = append(parts, impersonation{corev1.ObjectReference{Kind: "UID", APIVersion: version.String(), Name: uid},
			auth.Attributes{Group: version.Group, Version: version.Version, Plural: "uids", Name: uid}})
	}
	switch {
	case len(parts) == 0:
		return nil, nil, nil
	case wanted.Name == "":
		var asked []corev1.ObjectReference
		for _, p := range parts {
			asked = append(asked, p.ObjectReference)
		}
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("requested %v without impersonating a user", asked))
	}
	wanted.Groups = impersonatedGroups(wanted)
	return wanted, parts, nil
}

// headersOf are the headers that ask for an extra, in order.
func headersOf(h http.Header) []string {
	var names []string
	for name := range h {
		if strings.HasPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// extraKey is the key of an extra: what follows the prefix in lower case, %-escapes undone.
func extraKey(header string) string {
	escaped := strings.ToLower(header[len(authenticationv1.ImpersonateUserExtraHeaderPrefix):])
	if key, err := url.PathUnescape(escaped); err == nil {
		return key
	}
	return escaped
}

// nameParts judges the name: a service account's by its namespace.
func nameParts(wanted *auth.User) []impersonation {
	if wanted.Name == "" {
		return nil
	}
	if namespace, account, ok := auth.SplitServiceAccount(wanted.Name); ok {
		return []impersonation{{corev1.ObjectReference{Kind: "ServiceAccount", Namespace: namespace, Name: account},
			auth.Attributes{Plural: "serviceaccounts", Namespace: namespace, Name: account}}}
	}
	return []impersonation{{corev1.ObjectReference{Kind: "User", Name: wanted.Name}, auth.Attributes{Plural: "users", Name: wanted.Name}}}
}

// impersonatedGroups are the groups that were asked for, else those that a service account
// always has; and that of all who are, or are not, known.
func impersonatedGroups(wanted *auth.User) []string {
	groups := wanted.Groups
	if namespace, _, ok := auth.SplitServiceAccount(wanted.Name); ok && len(groups) == 0 {
		groups = auth.ServiceAccountGroups(namespace)
	}
	switch {
	case slices.Contains(groups, auth.GroupUnauthenticated):
	case wanted.Name == auth.NameAnonymous:
		groups = append(groups, auth.GroupUnauthenticated)
	case !slices.Contains(groups, auth.GroupAuthenticated):
		groups = append(groups, auth.GroupAuthenticated)
	}
	return groups
}
