package state

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

// ListOptions page a List.
type ListOptions struct {
	Selector
	Limit    int64
	Continue string
	// ResourceVersion and Match have the meaning of metav1.ListOptions.
	ResourceVersion string
	Match           metav1.ResourceVersionMatch
}

// Page is an answer to List.
type Page struct {
	Entries   []*Entry
	Revision  store.Revision
	Continue  string // "" at the end
	Remaining *int64 // nil if unknown: the list is complete or selects by more than the namespace
}

// Get returns one object. namespace is "" for cluster-scoped kinds. Errors: NotFound.
func (s *State) Get(ctx context.Context, k *resource.Kind, namespace, name string) (*Entry, error) {
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	e, ok := s.lookup(k, namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	shown, err := s.show(ctx, k, e)
	if err != nil {
		return nil, err
	}
	return shown[0], nil
}

// lookup reads one entry from the copy.
func (s *State) lookup(k *resource.Kind, namespace, name string) (*Entry, bool) {
	t := s.table(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.entries.Get(key(namespace, name))
}

// view returns a table as it is now, as far as m needs it.
func (s *State) view(t *table, m *matcher) (view, store.Revision) {
	s.mu.Lock() // copying a tree marks it
	defer s.mu.Unlock()
	var v view
	switch {
	case m.Owner != "":
		v.through, v.prefix = t.owned.Copy(), string(m.Owner)+"\x00"
	case m.Node != "":
		v.through, v.prefix = t.onNode.Copy(), m.Node+"\x00"
	default:
		v.through = t.entries.Copy()
	}
	return v, s.revision
}

// List returns what is selected, ordered by namespace and name. Errors: Expired (410),
// BadRequest for a continue token or resourceVersion that cannot be read, Timeout if the
// asked resourceVersion is not reached in a few seconds.
func (s *State) List(ctx context.Context, k *resource.Kind, o ListOptions) (*Page, error) {
	page, err := s.list(ctx, k, o)
	if err != nil {
		return nil, err
	}
	page.Entries, err = s.show(ctx, k, page.Entries...)
	return page, err
}

func (s *State) list(ctx context.Context, k *resource.Kind, o ListOptions) (*Page, error) {
	p, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	if err := s.reach(ctx, p); err != nil {
		return nil, err
	}
	l := &listing{table: s.table(k), matcher: newMatcher(k, o.Selector), limit: o.Limit}
	v, revision := s.view(l.table, l.matcher)
	if p.exact != 0 && p.exact != revision {
		if s.unchanged(l.table, p.exact, revision) {
			revision = p.exact
		} else {
			return l.history(ctx, s.store, p)
		}
	}
	v.scan(l.matcher, p.after, l.visit)
	return l.page(v, revision), nil
}

// unchanged says whether a table is at one revision as it is at a newer one.
func (s *State) unchanged(t *table, at, now store.Revision) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return t.newest <= at && at <= now && at >= t.recent.floor
}

// plan is what a list asks for.
type plan struct {
	after   string
	exact   store.Revision // 0: not
	atLeast store.Revision
	newest  bool // everything that has been answered must be seen
}

// newPlan reads resourceVersion, match and continue as
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions words them.
func newPlan(o ListOptions) (plan, error) {
	if o.Continue != "" {
		if o.ResourceVersion != "" && o.ResourceVersion != "0" {
			return plan{}, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		return decodeContinue(o.Continue)
	}
	revision, err := parseRevision(o.ResourceVersion)
	if err != nil {
		return plan{}, err
	}
	switch {
	case o.ResourceVersion == "":
		return plan{newest: true}, nil
	case revision == 0 && o.Match == metav1.ResourceVersionMatchExact:
		return plan{}, apierrors.NewBadRequest(`resourceVersionMatch "Exact" is forbidden for resourceVersion "0"`)
	case revision == 0:
		return plan{}, nil
	case o.Match == metav1.ResourceVersionMatchExact, o.Match == "" && o.Limit > 0:
		return plan{exact: revision, atLeast: revision}, nil
	}
	return plan{atLeast: revision}, nil
}

func parseRevision(s string) (store.Revision, error) {
	if s == "" {
		return 0, nil
	}
	r, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: resourceVersion: Invalid value: %q: %v", s, err))
	}
	return r, nil
}

// patience is how long a reader waits for a revision that has not been reached, as long
// as Kubernetes' watch cache.
const patience = 3 * time.Second

func (s *State) reach(ctx context.Context, p plan) error {
	if p.newest {
		return s.fresh(ctx)
	}
	return s.reachRevision(ctx, p.atLeast)
}

// Reach returns when what is read is not older than a resourceVersion as a client sends it; "" is what
// exists now. Errors: as List's.
func (s *State) Reach(ctx context.Context, resourceVersion string) error {
	if resourceVersion == "" || resourceVersion == "0" {
		return nil
	}
	revision, err := parseRevision(resourceVersion)
	if err != nil {
		return err
	}
	return s.reachRevision(ctx, revision)
}

func (s *State) reachRevision(ctx context.Context, revision store.Revision) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.wait(waiting, revision)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return tooLarge(revision, s.Revision())
	}
	return err
}

// listing gathers the entries of one page.
type listing struct {
	table   *table
	matcher *matcher
	limit   int64
	entries []*Entry
	more    bool
}

func (l *listing) visit(e *Entry) bool {
	if l.limit > 0 && int64(len(l.entries)) == l.limit {
		l.more = true
		return false
	}
	l.entries = append(l.entries, e)
	return true
}

// page finishes a listing that came from v.
func (l *listing) page(v view, revision store.Revision) *Page {
	p := &Page{Entries: l.entries, Revision: revision}
	if !l.more {
		return p
	}
	last := l.entries[len(l.entries)-1].key
	p.Continue = encodeContinue(revision, last)
	if !l.matcher.narrow() {
		var n int64
		v.scan(l.matcher, last, func(*Entry) bool { n++; return true })
		p.Remaining = &n
	}
	return p
}

// history answers from the store what the copy has overwritten.
func (l *listing) history(ctx context.Context, st store.Store, p plan) (*Page, error) {
	prefix := l.table.prefix
	if l.matcher.Namespace != "" {
		prefix += l.matcher.Namespace + "/"
	}
	o := store.ListOptions{Revision: p.exact, Limit: openPage}
	if p.after != "" {
		o.After = l.table.prefix + p.after
	}
	for !l.more {
		page, err := st.List(ctx, prefix, o)
		if err != nil {
			return nil, listError(err, p)
		}
		if err := l.read(page.Entries); err != nil {
			return nil, err
		}
		if page.Remaining == 0 {
			break
		}
		o.After = page.Entries[len(page.Entries)-1].Key
	}
	out := &Page{Entries: l.entries, Revision: p.exact}
	if l.more {
		out.Continue = encodeContinue(p.exact, l.entries[len(l.entries)-1].key)
	}
	return out, nil
}

func (l *listing) read(stored []store.Entry) error {
	for _, se := range stored {
		e, err := l.table.entry(strings.TrimPrefix(se.Key, l.table.prefix), se.Value, se.Revision)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("reading %s: %w", se.Key, err))
		}
		if l.matcher.matches(e) && !l.visit(e) {
			return nil
		}
	}
	return nil
}

// token is what a continue string holds, in the form of Kubernetes' own. A Revision of -1
// goes on at the newest.
type token struct {
	APIVersion string `json:"v"`
	Revision   int64  `json:"rv"`
	Start      string `json:"start"`
}

const tokenVersion = "meta.k8s.io/v1"

func encodeContinue(revision store.Revision, last string) string {
	return token{tokenVersion, int64(revision), last}.String()
}

func (t token) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeContinue(s string) (plan, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return plan{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: continue key is not valid: %v", err))
	}
	var t token
	if err := json.Unmarshal(b, &t); err != nil {
		return plan{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: continue key is not valid: %v", err))
	}
	switch {
	case t.APIVersion != tokenVersion:
		return plan{}, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: continue key is not valid: server does not recognize this encoded version %q", t.APIVersion))
	case t.Revision == 0 || t.Revision < -1:
		return plan{}, apierrors.NewBadRequest("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case t.Start == "":
		return plan{}, apierrors.NewBadRequest("invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	case t.Revision == -1:
		return plan{after: t.Start, newest: true}, nil
	}
	r := store.Revision(t.Revision)
	return plan{after: t.Start, exact: r, atLeast: r}, nil
}
