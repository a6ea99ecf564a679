package state

import (
	"context"
	"strconv"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// Admission sees every write, whoever writes, in Kubernetes' two phases. It refuses with a
// status error (Forbidden).
type Admission interface {
	// Admit is asked after defaulting, before the kind's own rules and validation. It may
	// change a.Object.
	Admit(ctx context.Context, a *Attributes) error
	// Validate is asked about the final, valid object, before every attempt to commit. It
	// changes nothing of it, but may have other objects written in the same commit.
	Validate(ctx context.Context, a *Attributes) error
}

// Operations of Attributes.
const (
	OpCreate  = "CREATE"
	OpUpdate  = "UPDATE"
	OpDelete  = "DELETE"
	OpConnect = "CONNECT"
)

// Attributes describe a write, or a request that admission judges without one.
type Attributes struct {
	Kind        *resource.Kind
	Subresource string
	Operation   string // CREATE, UPDATE, DELETE, CONNECT
	Namespace   string
	Name        string
	// Object is nil for DELETE and CONNECT, Old for CREATE and CONNECT. Of a subresource that
	// does something Object is what was sent: a Binding, an Eviction.
	Object, Old Object
	// Connect is what a CONNECT asks for (PodExecOptions), else nil.
	Connect runtime.Object
	DryRun  bool
	// User is who writes, whole; nil for the control plane itself. It is not changed.
	User *authenticationv1.UserInfo
	// Options are what the client asked for: *metav1.CreateOptions, *metav1.UpdateOptions (of a
	// patch, too) or *metav1.DeleteOptions, by Operation; nil for the control plane itself.
	Options runtime.Object
	*Remarks
	// Replaced says that somebody outside of this program changed Object: rules that complete it are asked anew.
	Replaced bool
	// Reader is the state that is written to.
	Reader *State
	// Commit is what else is written; nil unless Validate is asked.
	*Commit
}

// Remarks takes what admission has to say beside yes and no. Its functions may be called
// concurrently, and with the same text again.
type Remarks struct {
	OnWarning func(text string)       // for the client; nil: nobody listens
	OnAudit   func(key, value string) // for the audit log; nil: nobody listens
}

// Warn tells the client something.
func (r *Remarks) Warn(text string) {
	if r != nil && r.OnWarning != nil {
		r.OnWarning(text)
	}
}

// Annotate notes something in the audit log.
func (r *Remarks) Annotate(key, value string) {
	if r != nil && r.OnAudit != nil {
		r.OnAudit(key, value)
	}
}

// options are o, or nil without a type.
func options[T any, P interface {
	*T
	runtime.Object
}](o P) runtime.Object {
	if o == nil {
		return nil
	}
	return o
}

// Sent is the object of the request, whatever its type; nil for DELETE.
func (a *Attributes) Sent() runtime.Object {
	switch {
	case a.Connect != nil:
		return a.Connect
	case a.Object != nil:
		return a.Object
	}
	return nil
}

// Ask asks admission, both phases, about something that is not a write of a.Kind's object: an
// eviction, a binding, a stream.
func (s *State) Ask(ctx context.Context, a Attributes) error {
	if err := s.admit(ctx, &a); err != nil {
		return err
	}
	commit, err := s.validate(ctx, &a)
	commit.end()
	return err
}

func (s *State) admit(ctx context.Context, a *Attributes) error {
	if s.admission == nil {
		return nil
	}
	a.Reader = s
	return s.admission.Admit(ctx, a)
}

// validate asks the second phase. The Commit must be ended, also after an error.
func (s *State) validate(ctx context.Context, a *Attributes) (*Commit, error) {
	commit := s.newCommit()
	if s.admission == nil {
		return commit, nil
	}
	a.Reader, a.Commit = s, commit
	return commit, s.admission.Validate(ctx, a)
}

// Commit is what rides with a write in its commit.
type Commit struct {
	state  *State
	beside []write
	turn   []func()
}

func (s *State) newCommit() *Commit { return &Commit{state: s} }

// end lets the next one have his turn.
func (c *Commit) end() {
	for _, leave := range c.turn {
		leave()
	}
	c.turn = nil
}

// Beside has obj written in the same commit, over the version that its resourceVersion
// says. If that is no longer the newest one, nothing is written and everything is judged
// anew. Neither admission nor validation sees obj.
func (c *Commit) Beside(obj Object) error {
	t := c.state.table(c.state.kindOf(obj))
	revision, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return apierrors.NewBadRequest("invalid resourceVersion: " + err.Error())
	}
	e, _ := c.state.lookup(t.kind(), obj.GetNamespace(), obj.GetName())
	w, err := t.encoded(e, obj)
	if err != nil {
		return err
	}
	w.at = store.At(revision)
	c.beside = append(c.beside, w)
	return nil
}

// InTurn waits until everybody who asked for the same turn before has committed or given
// up, so that many writers of one object do not make each other start again. Several turns are
// asked for in the order of their names.
func (c *Commit) InTurn(ctx context.Context, name string) error {
	leave, err := c.state.turns.take(ctx, name)
	if err != nil {
		return err
	}
	c.turn = append(c.turn, leave)
	return c.state.fresh(ctx)
}

// turns are queues by name; one that nobody is in does not exist.
type turns struct {
	mu     sync.Mutex
	queues map[string]*turnQueue
}

type turnQueue struct {
	free   chan struct{} // holds one token
	inside int
}

func (t *turns) take(ctx context.Context, name string) (leave func(), err error) {
	q := t.enter(name)
	select {
	case <-q.free:
		return func() {
			q.free <- struct{}{}
			t.exit(name, q)
		}, nil
	case <-ctx.Done():
		t.exit(name, q)
		return nil, ctx.Err()
	}
}

func (t *turns) enter(name string) *turnQueue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[name]
	if q == nil {
		q = &turnQueue{free: make(chan struct{}, 1)}
		q.free <- struct{}{}
		if t.queues == nil {
			t.queues = map[string]*turnQueue{}
		}
		t.queues[name] = q
	}
	q.inside++
	return q
}

func (t *turns) exit(name string, q *turnQueue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.inside--; q.inside == 0 {
		delete(t.queues, name)
	}
}
