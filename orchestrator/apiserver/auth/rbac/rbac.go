// Package rbac judges by Roles, ClusterRoles and their bindings, as Kubernetes' RBAC
// authorizer does, makes the default ones, and keeps writers of roles from giving more than
// they have.
package rbac

import (
	"context"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/state"
)

// Authorizer judges by what a state holds. It sees every write that was answered before it was
// asked: before it judges, it takes in what has changed since.
type Authorizer struct {
	state func() *state.State

	mu      sync.RWMutex // guards what follows
	index   *index
	watches []*state.Watch
}

// New returns an authorizer over a state, which is asked for when there is something to judge: admission,
// which a state is opened with, may stand on the authorizer.
func New(s func() *state.State) *Authorizer { return &Authorizer{state: s} }

// Authorize implements auth.Authorizer.
func (z *Authorizer) Authorize(ctx context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	x, release, err := z.current(ctx)
	if err != nil {
		return auth.NoOpinion, "", err
	}
	defer release()
	var by *binding
	errs := x.visit(a.User, a.Namespace, func(b *binding, rule *rbacv1.PolicyRule) bool {
		if Allows(rule, a) {
			by = b
		}
		return by != nil
	})
	switch {
	case by != nil:
		return auth.Allow, "RBAC: allowed by " + by.describe(a.User), nil
	case len(errs) > 0:
		return auth.NoOpinion, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(errs)), nil
	}
	return auth.NoOpinion, "", nil
}

// Rules implements auth.Authorizer.
func (z *Authorizer) Rules(ctx context.Context, user *auth.User, namespace string) (auth.Rules, error) {
	rules, errs, err := z.rulesOf(ctx, user, namespace)
	if err != nil {
		return auth.Rules{}, err
	}
	out := auth.Rules{Problem: utilerrors.NewAggregate(errs)}
	for _, r := range rules {
		if len(r.Resources) > 0 {
			out.Resources = append(out.Resources, auth.ResourceRule{Verbs: r.Verbs, Groups: r.APIGroups, Resources: r.Resources, Names: r.ResourceNames})
		}
		if len(r.NonResourceURLs) > 0 {
			out.Paths = append(out.Paths, auth.PathRule{Verbs: r.Verbs, Paths: r.NonResourceURLs})
		}
	}
	return out, nil
}

// rulesOf are all rules of a user in a namespace, and the bindings' roles that are missing.
func (z *Authorizer) rulesOf(ctx context.Context, user *auth.User, namespace string) ([]rbacv1.PolicyRule, []error, error) {
	x, release, err := z.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	rules, missing := x.all(user, namespace)
	return rules, missing, nil
}

// current is the index as of now. It does not change before release is called.
func (z *Authorizer) current(ctx context.Context) (x *index, release func(), err error) {
	z.mu.RLock()
	if z.fresh() {
		return z.index, z.mu.RUnlock, nil
	}
	z.mu.RUnlock()
	if err := z.catchUp(ctx); err != nil {
		return nil, nil, fmt.Errorf("reading roles and bindings: %w", err)
	}
	z.mu.RLock()
	return z.index, z.mu.RUnlock, nil
}

// fresh says that nothing has changed since the index took it in.
func (z *Authorizer) fresh() bool {
	for _, w := range z.watches {
		if w.Behind() {
			return false
		}
	}
	return z.index != nil
}

// catchUp takes in what has changed; everything anew, if it fell behind the history.
func (z *Authorizer) catchUp(ctx context.Context) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	ctx = context.WithoutCancel(ctx) // the watches outlive the request, and nothing here waits for long
	for {
		if z.index == nil {
			if err := z.begin(ctx); err != nil {
				return err
			}
		}
		err := z.drain(ctx)
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return err
		}
		z.end()
	}
}

func (z *Authorizer) begin(ctx context.Context) error {
	index := newIndex()
	for _, of := range []state.Object{&rbacv1.ClusterRole{}, &rbacv1.Role{}, &rbacv1.ClusterRoleBinding{}, &rbacv1.RoleBinding{}} {
		kind, ok := z.state().Kinds().For(of)
		if !ok {
			return fmt.Errorf("%T is no kind of this cluster", of)
		}
		w, err := z.state().Watch(ctx, kind, state.WatchOptions{Initial: true})
		if err != nil {
			z.end()
			return err
		}
		z.watches = append(z.watches, w)
	}
	z.index = index
	return nil
}

func (z *Authorizer) end() {
	for _, w := range z.watches {
		w.Close()
	}
	z.watches, z.index = nil, nil
}

func (z *Authorizer) drain(ctx context.Context) error {
	for _, w := range z.watches {
		for w.Behind() {
			events, err := w.Ready(ctx)
			if err != nil {
				return err
			}
			for _, e := range events {
				z.index.apply(e)
			}
		}
	}
	return nil
}

func (x *index) apply(e state.Event) {
	if e.Entry == nil {
		return // a bookmark
	}
	switch obj := e.Entry.Object().(type) {
	case *rbacv1.ClusterRole:
		x.setRole(place{"", obj.Name}, obj.Rules, e.Type)
	case *rbacv1.Role:
		x.setRole(place{obj.Namespace, obj.Name}, obj.Rules, e.Type)
	case *rbacv1.ClusterRoleBinding:
		x.setBinding(&binding{place{"", obj.Name}, obj.RoleRef, obj.Subjects}, e.Type)
	case *rbacv1.RoleBinding:
		x.setBinding(&binding{place{obj.Namespace, obj.Name}, obj.RoleRef, obj.Subjects}, e.Type)
	}
}

func (x *index) setRole(at place, rules []rbacv1.PolicyRule, change state.EventType) {
	if change == state.Deleted {
		delete(x.roles, at)
		return
	}
	x.roles[at] = rules
}

func (x *index) setBinding(b *binding, change state.EventType) {
	if change == state.Deleted {
		x.unbind(b.place)
		return
	}
	x.bind(b)
}
