// Package fair shares the server among its clients, as Kubernetes' API Priority and Fairness does.
//
// A FlowSchema sorts each request into a flow and a priority level. Each level has seats, a part of the server's that grows
// with its shares, and may borrow idle ones that others lend. A request that finds no seat waits in a queue of its level:
// flows are dealt a hand of queues by a hash of their name (shuffle sharding) and take the shortest of it, and the queue that has
// been served least goes first, measured in seats times seconds. So a client that floods fills its own queues and nobody
// else's. What finds its queue full, or waits too long, is refused. Requests at exempt levels never wait.
package fair

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Seats of a server are Kubernetes' default: 400 for reading and 200 for writing.
const Seats = 600

// MaxWait is how long a request may wait for a seat.
const MaxWait = 15 * time.Second

// Reasons of a refusal, as in Kubernetes' metrics.
const (
	QueueFull        = "queue-full"
	TimeOut          = "time-out"
	ConcurrencyLimit = "concurrency-limit"
	Canceled         = "cancelled"
)

// Refused says that a request is not served now.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return "too many requests: " + r.Reason }

// Ticket is a request's right to be served.
type Ticket struct {
	FlowSchema, PriorityLevel types.UID

	once    sync.Once
	release func()
}

// Release gives the seats back. It may be called again.
func (t *Ticket) Release() { t.once.Do(t.release) }

// Sharer decides who is served. See New. Its methods may be called concurrently.
type Sharer struct {
	seats int

	mu      sync.Mutex
	schemas []*flowcontrolv1.FlowSchema // by precedence
	levels  map[string]*level
	counts  counts
}

// New returns a sharer of so many seats that knows the mandatory levels only.
func New(seats int) *Sharer {
	s := &Sharer{seats: seats, levels: map[string]*level{}, counts: newCounts()}
	s.Configure(nil, nil)
	return s
}

// Configure takes the objects that there are. The levels exempt and catch-all are always there.
func (s *Sharer) Configure(schemas []*flowcontrolv1.FlowSchema, levels []*flowcontrolv1.PriorityLevelConfiguration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	levels = withMandatory(levels)
	s.schemas = slices.Clone(schemas)
	slices.SortFunc(s.schemas, func(a, b *flowcontrolv1.FlowSchema) int {
		if a.Spec.MatchingPrecedence != b.Spec.MatchingPrecedence {
			return int(a.Spec.MatchingPrecedence - b.Spec.MatchingPrecedence)
		}
		return strings.Compare(a.Name, b.Name)
	})
	now := map[string]*level{}
	shares := 0.0
	for _, object := range levels {
		shares += float64(sharesOf(object))
	}
	for _, object := range levels {
		l := s.levels[object.Name]
		if l == nil {
			l = &level{sharer: s, name: object.Name}
		}
		l.configure(object, s.seats, shares)
		now[object.Name] = l
	}
	s.levels = now // requests at a level that has gone are served by it to their end
	for _, l := range now {
		l.dispatch()
	}
}

// Admit waits until the request may be served. Errors: *Refused.
func (s *Sharer) Admit(ctx context.Context, r Request) (*Ticket, error) {
	s.mu.Lock()
	schema := s.match(r)
	l := s.levels[schema.Spec.PriorityLevelConfiguration.Name]
	t := &Ticket{FlowSchema: schema.UID, PriorityLevel: l.uid}
	w := &waiter{width: min(max(r.Width, 1), max(l.seats, 1)), granted: make(chan struct{})}
	switch {
	case l.exempt:
		l.sit(w)
	case l.queues == nil && !l.fits(w):
		s.counts.rejected(schema.Name, l.name, ConcurrencyLimit)
		s.mu.Unlock()
		return t, &Refused{ConcurrencyLimit}
	case l.queues == nil:
		l.sit(w)
	case !l.enqueue(w, hash(schema.Name, r.flow(schema))):
		s.counts.rejected(schema.Name, l.name, QueueFull)
		s.mu.Unlock()
		return t, &Refused{QueueFull}
	default:
		l.dispatch()
	}
	s.mu.Unlock()
	t.release = func() { l.done(w) }
	if err := s.wait(ctx, l, w); err != nil {
		s.counts.rejected(schema.Name, l.name, err.Reason)
		return t, err
	}
	s.counts.dispatched(schema.Name, l.name)
	return t, nil
}

// wait returns when w has its seats.
func (s *Sharer) wait(ctx context.Context, l *level, w *waiter) *Refused {
	select {
	case <-w.granted:
		return nil
	default:
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	select {
	case <-w.granted:
		s.counts.waited(l.name, time.Since(begin))
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.seated {
		return nil // at the last moment
	}
	l.forget(w)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Refused{TimeOut}
	}
	return &Refused{Canceled}
}

// catchAll is for requests that no FlowSchema matches.
var catchAll = &flowcontrolv1.FlowSchema{Spec: flowcontrolv1.FlowSchemaSpec{
	PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: flowcontrolv1.PriorityLevelConfigurationNameCatchAll}}}

// exempts are the administrators, whatever the objects say.
var exempts = &flowcontrolv1.FlowSchema{Spec: flowcontrolv1.FlowSchemaSpec{
	PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: flowcontrolv1.PriorityLevelConfigurationNameExempt}}}

func init() {
	catchAll.Name, exempts.Name = flowcontrolv1.FlowSchemaNameCatchAll, flowcontrolv1.FlowSchemaNameExempt
}

// match finds the FlowSchema of a request. One whose level does not exist sorts nothing.
func (s *Sharer) match(r Request) *flowcontrolv1.FlowSchema {
	for _, schema := range s.schemas {
		if s.levels[schema.Spec.PriorityLevelConfiguration.Name] != nil && r.matches(schema) {
			return schema
		}
	}
	if slices.Contains(r.Groups, "system:masters") {
		return exempts
	}
	return catchAll
}

// withMandatory adds the levels that are always there.
func withMandatory(levels []*flowcontrolv1.PriorityLevelConfiguration) []*flowcontrolv1.PriorityLevelConfiguration {
	has := func(name string) bool {
		return slices.ContainsFunc(levels, func(l *flowcontrolv1.PriorityLevelConfiguration) bool { return l.Name == name })
	}
	levels = slices.Clone(levels)
	if name := flowcontrolv1.PriorityLevelConfigurationNameExempt; !has(name) {
		l := &flowcontrolv1.PriorityLevelConfiguration{Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementExempt}}
		l.Name = name
		levels = append(levels, l)
	}
	if name := flowcontrolv1.PriorityLevelConfigurationNameCatchAll; !has(name) {
		shares := int32(5)
		l := &flowcontrolv1.PriorityLevelConfiguration{Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type:    flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares},
		}}
		l.Name = name
		levels = append(levels, l)
	}
	return levels
}

func sharesOf(l *flowcontrolv1.PriorityLevelConfiguration) int32 {
	switch {
	case l.Spec.Limited != nil && l.Spec.Limited.NominalConcurrencyShares != nil:
		return *l.Spec.Limited.NominalConcurrencyShares
	case l.Spec.Limited != nil:
		return 30 // Kubernetes' default
	case l.Spec.Exempt != nil && l.Spec.Exempt.NominalConcurrencyShares != nil:
		return *l.Spec.Exempt.NominalConcurrencyShares
	}
	return 0
}

// part is a percentage of seats.
func part(seats int, percent *int32) int {
	if percent == nil {
		return 0
	}
	return int(math.Round(float64(seats) * float64(*percent) / 100))
}
