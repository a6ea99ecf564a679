// Package auth says who sends a request and what he may do.
//
// Both questions are interfaces with a union each, so that tokens, impersonation and
// RBAC are added as further implementations.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// Names that Kubernetes gives to groups and to the user without credentials.
const (
	GroupMasters         = "system:masters"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	NameAnonymous        = "system:anonymous"
)

// User is who sent a request. It is not changed after authentication.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
	// By is who acts as this user (impersonation); nil: he does so himself.
	By *User
}

// Anonymous is the user of requests without credentials.
var Anonymous = &User{Name: NameAnonymous, Groups: []string{GroupUnauthenticated}}

// In says whether the user is in a group.
func (u *User) In(group string) bool { return slices.Contains(u.Groups, group) }

// Info is the user as Kubernetes' reviews, admission and audit show him. What it holds is shared.
func (u *User) Info() *authenticationv1.UserInfo {
	info := &authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) == 0 {
		return info
	}
	info.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
	for key, values := range u.Extra {
		info.Extra[key] = values
	}
	return info
}

// UserOf is the user whose Info it is.
func UserOf(info *authenticationv1.UserInfo) *User {
	user := &User{Name: info.Username, UID: info.UID, Groups: info.Groups}
	for key, values := range info.Extra {
		if user.Extra == nil {
			user.Extra = make(map[string][]string, len(info.Extra))
		}
		user.Extra[key] = values
	}
	return user
}

// Authenticator reads one kind of credentials.
type Authenticator interface {
	// Authenticate returns the sender of r, or nil if r carries no credentials of this
	// kind. An error means credentials that are not valid.
	Authenticate(r *http.Request) (*User, error)
}

// AnyOf asks authenticators in order and takes the first answer.
type AnyOf []Authenticator

// Authenticate implements Authenticator.
func (a AnyOf) Authenticate(r *http.Request) (*User, error) {
	for _, one := range a {
		if u, err := one.Authenticate(r); u != nil || err != nil {
			return u, err
		}
	}
	return nil, nil
}

// Certificates takes the user from a verified client certificate, as Kubernetes does: the
// common name is the user, the organizations are the groups. What the certificate was is told as its hash.
type Certificates struct{}

// Authenticate implements Authenticator.
func (Certificates) Authenticate(r *http.Request) (*User, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, nil
	}
	leaf := r.TLS.VerifiedChains[0][0]
	if leaf.Subject.CommonName == "" {
		return nil, fmt.Errorf("auth: client certificate without a common name")
	}
	sum := sha256.Sum256(leaf.Raw)
	return &User{
		Name:   leaf.Subject.CommonName,
		UID:    subjectUID(leaf),
		Groups: append(slices.Clone(leaf.Subject.Organization), GroupAuthenticated),
		Extra:  map[string][]string{extraCredential: {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}, nil
}

// uidOID is the attribute of a subject that Kubernetes reads a user's uid from.
var uidOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

func subjectUID(c *x509.Certificate) string {
	for _, name := range c.Subject.Names {
		if uid, ok := name.Value.(string); ok && name.Type.Equal(uidOID) {
			return uid
		}
	}
	return ""
}

// Attributes are what an authorizer judges: who does what to which object or path.
type Attributes struct {
	User *User
	Verb string
	// Path is set for requests that are not for a resource.
	Path string

	Resource    bool // the following are set
	Group       string
	Version     string
	Plural      string
	Subresource string
	Namespace   string
	Name        string
	// Fields and Labels are what a list, watch or deletecollection selects by, as far as it could be read.
	Fields fields.Requirements
	Labels labels.Requirements
}

// Decision is an authorizer's answer.
type Decision int

// NoOpinion leaves the decision to the next authorizer; after the last it means no.
const (
	NoOpinion Decision = iota
	Allow
	Deny
)

// Authorizer judges requests.
type Authorizer interface {
	// Authorize returns the decision and, unless it is Allow, the reason to show.
	Authorize(ctx context.Context, a *Attributes) (Decision, string, error)
	// Rules lists what user may do in a namespace.
	Rules(ctx context.Context, user *User, namespace string) (Rules, error)
}

// Rules are what one user may do.
type Rules struct {
	Resources []ResourceRule
	Paths     []PathRule
	// Incomplete says that some authorizer cannot list its rules, Problem why, or which bindings give nothing.
	Incomplete bool
	Problem    error
}

// ResourceRule allows verbs on resources; "*" is any.
type ResourceRule struct {
	Verbs, Groups, Resources, Names []string
}

// PathRule allows verbs on paths; a path may end in "*".
type PathRule struct {
	Verbs, Paths []string
}

// InOrder asks authorizers in order; the first opinion counts.
type InOrder []Authorizer

// Authorize implements Authorizer.
func (o InOrder) Authorize(ctx context.Context, a *Attributes) (Decision, string, error) {
	reason := ""
	for _, one := range o {
		decision, why, err := one.Authorize(ctx, a)
		if decision != NoOpinion || err != nil {
			return decision, why, err
		}
		if why != "" {
			reason = why
		}
	}
	return NoOpinion, reason, nil
}

// Rules implements Authorizer. What one has listed, those behind it do not repeat.
func (o InOrder) Rules(ctx context.Context, user *User, namespace string) (Rules, error) {
	var all Rules
	var problems []error
	for _, one := range o {
		rules, err := one.Rules(ctx, user, namespace)
		if err != nil {
			return all, err
		}
		all.Resources = append(all.Resources, without(rules.Resources, all.Resources)...)
		all.Paths = append(all.Paths, without(rules.Paths, all.Paths)...)
		all.Incomplete = all.Incomplete || rules.Incomplete
		problems = append(problems, rules.Problem)
	}
	all.Problem = utilerrors.NewAggregate(problems)
	return all, nil
}

// without are those rules that are not among listed.
func without[R any](rules, listed []R) []R {
	return slices.DeleteFunc(slices.Clone(rules), func(r R) bool {
		return slices.ContainsFunc(listed, func(l R) bool { return reflect.DeepEqual(r, l) })
	})
}
