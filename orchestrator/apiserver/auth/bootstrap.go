package auth

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

const (
	bootstrapGroup      = "system:bootstrappers"
	bootstrapUserPrefix = "system:bootstrap:"
	bootstrapSecret     = "bootstrap-token-"
	bootstrapGroupsKey  = "auth-extra-groups"
)

var (
	bootstrapToken  = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16})\z`)
	bootstrapGroups = regexp.MustCompile(`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`)
)

// Bootstrap knows bootstrap tokens, by which machines join: ID.SECRET, kept in Secrets of type
// bootstrap.kubernetes.io/token in kube-system.
type Bootstrap struct {
	State *state.State
	// Audiences are the API's.
	Audiences []string
	// Check compares id and secret with a Secret, nil if there is none: pki.CheckToken.
	Check func(s *corev1.Secret, id, secret string) error
}

// AuthenticateToken implements TokenAuthenticator.
func (b Bootstrap) AuthenticateToken(_ context.Context, t string, audiences []string) (*User, []string, error) {
	parts := bootstrapToken.FindStringSubmatch(t)
	good := forAPI(b.Audiences, audiences)
	if parts == nil || len(good) == 0 {
		return nil, nil, nil
	}
	id, secret := parts[1], parts[2]
	kept, _ := state.Get[*corev1.Secret](b.State, metav1.NamespaceSystem, bootstrapSecret+id)
	if err := b.Check(kept, id, secret); err != nil {
		return nil, nil, err
	}
	groups, err := groupsOf(kept)
	if err != nil {
		return nil, nil, err
	}
	return &User{Name: bootstrapUserPrefix + id, Groups: append(groups, GroupAuthenticated)}, good, nil
}

// groupsOf are the groups that a bootstrap token's Secret gives, sorted.
func groupsOf(s *corev1.Secret) ([]string, error) {
	groups := []string{bootstrapGroup}
	if more := string(s.Data[bootstrapGroupsKey]); more != "" {
		for _, g := range strings.Split(more, ",") {
			if !bootstrapGroups.MatchString(g) {
				return nil, fmt.Errorf("invalid bootstrap group %q in secret %s (must match %s)", g, s.Name, bootstrapGroups)
			}
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}
