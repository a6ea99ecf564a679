// Package controller is the loop that every controller runs in: a keyed queue. Events carry
// only a key; Reconcile reads all it needs from state, decides, and writes. It is called
// for one key at a time, again with backoff after an error, and again when it asks to.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Key names what a reconcile is about.
type Key = types.NamespacedName

// Controller is one loop over one kind of key.
type Controller struct {
	Name string
	// Sources wake the controller, and so do changes of all kinds by way of EveryKind, if it is not nil: of those too that
	// are defined at run time, but not of lazy ones (Events).
	Sources   []Source
	EveryKind func(kind *resource.Kind, e state.Event) []Key
	// Start are keys to begin with, whether anything wakes the controller or not.
	Start []Key
	// Reconcile brings what the key names to where it should be. A positive duration asks
	// to be called again after it, whatever happens; an error asks with backoff.
	Reconcile func(ctx context.Context, key Key) (time.Duration, error)
	// Workers is how many keys are reconciled at once; 0 means 4.
	Workers int
}

// Source turns changes of one kind into keys.
type Source struct {
	kind func(*resource.Registry) (*resource.Kind, bool)
	keys func(e state.Event) []Key
}

// On makes a Source of a typed function. It is asked for the object as it was and as it is.
func On[T state.Object](keys func(T) []Key) Source {
	var zero T
	return Source{
		kind: func(r *resource.Registry) (*resource.Kind, bool) { return r.For(zero) },
		keys: func(e state.Event) []Key {
			var all []Key
			for _, entry := range []*state.Entry{e.Prev, e.Entry} {
				if entry != nil {
					all = append(all, keys(entry.Object().(T))...)
				}
			}
			return all
		},
	}
}

// OnEvents makes a Source of a function that sees the changes themselves.
func OnEvents(kind *resource.Kind, keys func(e state.Event) []Key) Source {
	return Source{func(*resource.Registry) (*resource.Kind, bool) { return kind, true }, keys}
}

// Self is the object's own key.
func Self[T state.Object](obj T) []Key {
	return []Key{{Namespace: obj.GetNamespace(), Name: obj.GetName()}}
}

// OwnerOf is the key of the object's controller, if it is of the kind.
func OwnerOf[T state.Object](kind string) func(T) []Key {
	return func(obj T) []Key {
		ref := metav1.GetControllerOfNoCopy(obj)
		if ref == nil || ref.Kind != kind {
			return nil
		}
		return []Key{{Namespace: obj.GetNamespace(), Name: ref.Name}}
	}
}

// Events tells people what a controller did.
type Events interface {
	// Eventf records an event about obj; eventtype is corev1.EventTypeNormal or -Warning.
	Eventf(obj state.Object, eventtype, reason, format string, args ...any)
}

// Run runs the controllers until ctx ends. metrics may be nil.
func Run(ctx context.Context, s *state.State, log *slog.Logger, metrics *Metrics, all ...Controller) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range all {
		l := &loop{Controller: c, state: s, log: log.With("controller", c.Name), queue: newQueue(), count: metrics.of(c.Name)}
		metrics.watch(c.Name, l.queue)
		group.Go(func() error { return l.run(ctx) })
	}
	return group.Wait()
}

type loop struct {
	Controller
	state *state.State
	log   *slog.Logger
	queue *queue
	count counters
}

func (l *loop) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, source := range l.Sources {
		kind, ok := source.kind(l.state.Kinds())
		if !ok {
			return fmt.Errorf("controller %s: a source is no kind of this server", l.Name)
		}
		group.Go(func() error { return l.follow(ctx, kind, source) })
	}
	if l.EveryKind != nil {
		group.Go(func() error { return l.followAll(ctx) })
	}
	for _, key := range l.Start {
		l.queue.add(key)
	}
	workers := l.Workers
	if workers == 0 {
		workers = 4
	}
	for range workers {
		group.Go(func() error { return l.work(ctx) })
	}
	group.Go(func() error {
		<-ctx.Done()
		l.queue.close()
		return nil
	})
	return group.Wait()
}

// followAll follows all kinds, those to come too.
func (l *loop) followAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	following := make(map[schema.GroupResource]bool)
	ended := make(chan schema.GroupResource)
	follow := func(kind *resource.Kind) {
		resource := kind.GroupResource()
		following[resource] = true
		group.Go(func() error {
			err := l.follow(ctx, kind, OnEvents(kind, func(e state.Event) []Key { return l.EveryKind(kind, e) }))
			select {
			case ended <- resource:
			case <-ctx.Done():
			}
			return err
		})
	}
	for {
		changed := l.state.Kinds().Changed()
		for _, kind := range l.state.Kinds().Stored() {
			if !kind.Lazy && !following[kind.GroupResource()] {
				follow(kind)
			}
		}
		select {
		case <-changed:
		case resource := <-ended:
			delete(following, resource)
		case <-ctx.Done():
			return group.Wait()
		}
	}
}

// follow turns a kind's changes into keys, from everything that exists on.
func (l *loop) follow(ctx context.Context, kind *resource.Kind, source Source) error {
	for ctx.Err() == nil {
		err := l.watch(ctx, kind, source)
		if errors.Is(err, state.ErrWithdrawn) {
			return nil
		}
		if err != nil && !apierrors.IsResourceExpired(err) && ctx.Err() == nil {
			return fmt.Errorf("controller %s: watching %s: %w", l.Name, kind.Plural, err)
		}
	}
	return nil
}

func (l *loop) watch(ctx context.Context, kind *resource.Kind, source Source) error {
	w, err := l.state.Watch(ctx, kind, state.WatchOptions{Initial: true})
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, _, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Entry == nil {
				continue // a bookmark
			}
			for _, key := range source.keys(e) {
				l.queue.add(key)
			}
		}
	}
}

func (l *loop) work(ctx context.Context) error {
	for {
		key, ok := l.queue.get()
		if !ok {
			return nil
		}
		begin := time.Now()
		again, err := l.reconcile(ctx, key)
		l.count.worked(time.Since(begin), err)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			wait := l.queue.failed(key)
			l.log.Warn("reconcile failed, trying again", "key", key.String(), "err", err, "in", wait)
		default:
			l.queue.done(key, again)
		}
	}
}

// reconcile keeps one key's panic from ending the others' work.
func (l *loop) reconcile(ctx context.Context, key Key) (again time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.Reconcile(ctx, key)
}
