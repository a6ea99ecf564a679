package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/fair"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
)

// sharing keeps the sharer as the objects in the state say.
type sharing struct {
	*fair.Sharer
	state         *state.State
	schema, level *resource.Kind // nil: the state has no such objects

	mu   sync.Mutex
	read bool              // the objects have been read once
	seen [2]store.Revision // of the two kinds, when they were read last
}

func newSharing(s *state.State, seats int) *sharing {
	if seats == 0 {
		seats = fair.Seats
	}
	f := &sharing{Sharer: fair.New(seats), state: s}
	f.schema, _ = s.Kinds().For(&flowcontrolv1.FlowSchema{})
	f.level, _ = s.Kinds().For(&flowcontrolv1.PriorityLevelConfiguration{})
	return f
}

// refresh takes in what has changed of the objects since it was asked last.
func (f *sharing) refresh() {
	if f.schema == nil || f.level == nil {
		return
	}
	now := [2]store.Revision{f.state.Changed(f.schema), f.state.Changed(f.level)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read && now == f.seen {
		return
	}
	f.read, f.seen = true, now
	f.Configure(state.List[*flowcontrolv1.FlowSchema](f.state, state.Selector{}),
		state.List[*flowcontrolv1.PriorityLevelConfiguration](f.state, state.Selector{}))
}

// seat waits for the request's turn. The ticket is nil for requests that take no seat: streams, which may last for hours.
// Errors: *fair.Refused.
func (s *Server) seat(r *http.Request, at target, user *auth.User) (*fair.Ticket, error) {
	if at.isLong() && at.verb != "watch" {
		return nil, nil
	}
	s.sharing.refresh()
	return s.sharing.Admit(r.Context(), fair.Request{
		User: user.Name, Groups: user.Groups, Verb: at.verb, Resource: at.resource,
		Group: at.group, Plural: at.plural, Subresource: at.subresource, Namespace: at.namespace, Path: at.path,
		Width: s.width(r, at),
	})
}

// A list takes a seat for each hundred of the objects that it may have to look at, ten at most, as in Kubernetes.
const (
	objectsPerSeat = 100
	maxWidth       = 10
)

func (s *Server) width(r *http.Request, at target) int {
	if at.verb != "list" {
		return 1
	}
	kind, ok := s.kinds.Resource(at.gvr())
	if !ok {
		return 1
	}
	n := s.state.Count(kind)
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && limit > 0 {
		n = min(n, limit)
	}
	return min((n+objectsPerSeat-1)/objectsPerSeat, maxWidth)
}

// tooMany is Kubernetes' answer to who has to come back later.
func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
}

// sorted tells the client how his request was sorted.
func sorted(w http.ResponseWriter, t *fair.Ticket) {
	w.Header().Set("X-Kubernetes-PF-FlowSchema-UID", string(t.FlowSchema))
	w.Header().Set("X-Kubernetes-PF-PriorityLevel-UID", string(t.PriorityLevel))
}

// maxTimeout bounds every request that does not stream, and is what it gets if it does not ask for less.
const maxTimeout = time.Minute

// deadline is the request with the end that it asks for. Errors: 400.
func deadline(r *http.Request, at target) (*http.Request, context.CancelFunc, error) {
	if at.isLong() {
		return r, func() {}, nil
	}
	timeout := maxTimeout
	if text := strings.TrimSpace(r.URL.Query().Get("timeout")); text != "" {
		asked, err := time.ParseDuration(text)
		if err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
		}
		if asked > 0 {
			timeout = min(asked, maxTimeout)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return r.WithContext(ctx), cancel, nil
}

// isHealth says that the path is asked to know how the server is, which it says to its end.
func isHealth(at target) bool {
	name := route(at.path)
	return name == "/healthz" || name == "/livez" || name == "/readyz"
}

// shuttingDown sends a client that came over a connection from before to another server, or back later.
func shuttingDown(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Connection", "close") // with HTTP/2: go away
	http.Error(w, "The apiserver is shutting down, please try again later.", http.StatusServiceUnavailable)
}
