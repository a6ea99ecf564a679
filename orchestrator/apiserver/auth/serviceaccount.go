package auth

import (
	"context"
	"errors"

	"wherry/orchestrator/token"
)

// What Kubernetes calls service accounts and what it tells about their credentials.
const (
	ServiceAccountPrefix = "system:serviceaccount:"
	GroupServiceAccounts = "system:serviceaccounts"

	extraCredential = "authentication.kubernetes.io/credential-id"
	extraPodName    = "authentication.kubernetes.io/pod-name"
	extraPodUID     = "authentication.kubernetes.io/pod-uid"
	extraNodeName   = "authentication.kubernetes.io/node-name"
	extraNodeUID    = "authentication.kubernetes.io/node-uid"
)

// ServiceAccounts knows service-account tokens.
type ServiceAccounts struct{ Tokens *token.Tokens }

// AuthenticateToken implements TokenAuthenticator.
func (s ServiceAccounts) AuthenticateToken(_ context.Context, t string, audiences []string) (*User, []string, error) {
	id, err := s.Tokens.Verify(t, audiences)
	switch {
	case errors.Is(err, token.ErrNotOurs):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return accountUser(id), id.Audiences, nil
}

func accountUser(id *token.Identity) *User {
	u := &User{
		Name:   ServiceAccountPrefix + id.Namespace + ":" + id.Name,
		UID:    id.UID,
		Groups: []string{GroupServiceAccounts, GroupServiceAccounts + ":" + id.Namespace, GroupAuthenticated},
	}
	add := func(key, value string) {
		if value == "" {
			return
		}
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[key] = []string{value}
	}
	add(extraPodName, id.PodName)
	add(extraPodUID, id.PodUID)
	add(extraNodeName, id.NodeName)
	add(extraNodeUID, id.NodeUID)
	if id.ID != "" {
		add(extraCredential, "JTI="+id.ID)
	}
	return u
}
