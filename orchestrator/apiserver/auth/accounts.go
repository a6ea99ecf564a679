package auth

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// ServiceAccountGroups are the groups that every service account of a namespace is in, beside
// GroupAuthenticated.
func ServiceAccountGroups(namespace string) []string {
	return []string{GroupServiceAccounts, GroupServiceAccounts + ":" + namespace}
}

// SplitServiceAccount takes the user name of a service account apart; ok is false if it is none.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, ServiceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", "", false
	}
	return namespace, name, true
}

// Names that Kubernetes gives nodes.
const (
	GroupNodes = "system:nodes"
	nodePrefix = "system:node:"
)

// NodeName is the node that a user is; ok is false if he is none. Name is "" for a node without a name.
func NodeName(user string, groups []string) (name string, ok bool) {
	name, ok = strings.CutPrefix(user, nodePrefix)
	return name, ok && slices.Contains(groups, GroupNodes)
}
