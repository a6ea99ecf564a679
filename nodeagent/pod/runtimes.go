package pod

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
)

// choose returns the driver for a container: the one that the pod's runtimeClassName names, else the one for its image's kind.
func choose(drivers []runtime.Runtime, class *string, kind string) (runtime.Runtime, error) {
	name := kind
	if class != nil {
		name = *class
	}
	var names []string
	for _, d := range drivers {
		if d.Name() == name {
			return d, nil
		}
		names = append(names, d.Name())
	}
	has := strings.Join(names, ", ")
	if class != nil {
		return nil, fmt.Errorf("%w: this node has no runtime class %q, only %s", runtime.ErrInvalid, name, has)
	}
	return nil, fmt.Errorf("%w: this node cannot run images of kind %q, only %s", runtime.ErrInvalid, name, has)
}

// observer watches one driver and tells who is concerned what has changed.
type observer struct {
	driver runtime.Runtime
	tell   func(driver string, s runtime.Status, found bool)
	log    *slog.Logger

	last map[runtime.ID]runtime.Status

	mu      sync.Mutex
	waiting []chan struct{} // closed when everything up to now has been told
	poke    chan struct{}   // holds a token while somebody waits
}

func newObserver(d runtime.Runtime, log *slog.Logger, tell func(string, runtime.Status, bool)) *observer {
	return &observer{driver: d, tell: tell, log: log, last: map[runtime.ID]runtime.Status{}, poke: make(chan struct{}, 1)}
}

// retryObserve is how long an observer waits when its driver does not answer.
const retryObserve = time.Second

// run observes whenever the driver says that something changed, or somebody waits.
func (o *observer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.driver.Changes():
		case <-o.poke:
		}
		for err := o.look(ctx); err != nil; err = o.look(ctx) {
			o.log.Warn("cannot observe containers", "runtime", o.driver.Name(), "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryObserve):
			}
		}
	}
}

// look observes once. Changes that have been announced by now are seen by it.
func (o *observer) look(ctx context.Context) error {
	for drained := false; !drained; {
		select {
		case <-o.driver.Changes():
		default:
			drained = true
		}
	}
	o.mu.Lock()
	served := o.waiting
	o.waiting = nil
	o.mu.Unlock()
	all, err := o.driver.Observe(ctx)
	if err != nil {
		o.mu.Lock()
		o.waiting = append(o.waiting, served...)
		o.mu.Unlock()
		return err
	}
	o.compare(all)
	for _, c := range served {
		close(c)
	}
	return nil
}

func (o *observer) compare(all []runtime.Status) {
	now := make(map[runtime.ID]runtime.Status, len(all))
	for _, s := range all {
		now[s.ID] = s
		if o.last[s.ID] != s {
			o.tell(o.driver.Name(), s, true)
		}
	}
	for id, s := range o.last {
		if _, ok := now[id]; !ok {
			o.tell(o.driver.Name(), s, false)
		}
	}
	o.last = now
}

// wait returns when everything that the driver knows now has been told.
func (o *observer) wait(ctx context.Context) {
	done := make(chan struct{})
	o.mu.Lock()
	o.waiting = append(o.waiting, done)
	o.mu.Unlock()
	select {
	case o.poke <- struct{}{}:
	default: // there is a token
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// ids are those that the driver knew when it was observed last, in order.
func (o *observer) ids() []runtime.ID {
	all := make([]runtime.ID, 0, len(o.last))
	for id := range o.last {
		all = append(all, id)
	}
	slices.SortFunc(all, func(a, b runtime.ID) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}
