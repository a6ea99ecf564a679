// Package scheduler puts pods on nodes: it follows pods and nodes, decides with package
// fit against its own picture of them, and binds in batches.
//
// One goroutine owns the picture and the queue; two others only pull the watches. A pod
// that was decided counts on its node from then on, before the watch shows it there, so
// that nothing is given away twice. A pod that fits nowhere waits until something changes
// that may matter, and not more often than its back-off allows.
package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/scheduler/fit"
	"wherry/orchestrator/state"
	"wherry/orchestrator/state/event"
	"wherry/orchestrator/store"
)

// Name is the schedulerName of the pods that are scheduled here, and the component of its
// events.
const Name = corev1.DefaultSchedulerName

// maxBatch is how many pods are decided before they are bound.
const maxBatch = store.MaxOps

// Config is what a Scheduler needs.
type Config struct {
	State *state.State
	// Logger nil means slog.Default().
	Logger *slog.Logger
	// Recorder tells users what was decided; nil tells nobody.
	Recorder *event.Recorder
	// Attempts counts what came of deciding about pods: scheduled, unschedulable, error; nil counts nothing.
	Attempts func(result string, n int)
}

// Scheduler binds pods. See New.
type Scheduler struct {
	state    *state.State
	log      *slog.Logger
	recorder *event.Recorder
	attempts func(result string, n int)
}

// New returns a scheduler; it does nothing until Run.
func New(c Config) *Scheduler {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Attempts == nil {
		c.Attempts = func(string, int) {}
	}
	return &Scheduler{state: c.State, log: c.Logger, recorder: c.Recorder, attempts: c.Attempts}
}

// Run schedules until ctx ends, and then returns nil.
func (s *Scheduler) Run(ctx context.Context) error {
	for {
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !apierrors.IsResourceExpired(err) {
			return err
		}
		s.log.Info("scheduler fell behind the history and begins anew")
	}
}

// session is one following of the watches, from a full reading on.
type session struct {
	*Scheduler
	picture *picture
	queue   *queue
	unread  int // watches whose initial events have not all come
}

// follow runs a session until a watch or ctx ends.
func (s *Scheduler) follow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan []state.Event)
	for _, obj := range []state.Object{(*corev1.Node)(nil), (*corev1.Pod)(nil)} {
		g.Go(func() error { return s.pull(ctx, obj, batches) })
	}
	g.Go(func() error {
		run := &session{Scheduler: s, picture: newPicture(s.namespaceLabels), queue: newQueue(), unread: 2}
		return run.loop(ctx, batches)
	})
	return g.Wait()
}

// pull hands on what a watch of obj's kind sees.
func (s *Scheduler) pull(ctx context.Context, obj state.Object, batches chan<- []state.Event) error {
	kind, ok := s.state.Kinds().For(obj)
	if !ok {
		return errors.New("scheduler: pods or nodes are not registered")
	}
	w, err := s.state.Watch(ctx, kind, state.WatchOptions{Initial: true})
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, _, err := w.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case batches <- events:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Scheduler) namespaceLabels(name string) labels.Set {
	ns, ok := state.Get[*corev1.Namespace](s.state, "", name)
	if !ok {
		return nil
	}
	return ns.Labels
}

// loop takes in events, and decides whenever there is something to decide.
func (s *session) loop(ctx context.Context, batches <-chan []state.Event) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case events := <-batches:
			s.take(events)
		case <-timer.C:
		}
		if s.unread > 0 {
			continue
		}
		if err := s.schedule(ctx); err != nil {
			return err
		}
		timer.Reset(s.queue.next(time.Now()))
	}
}

func (s *session) take(events []state.Event) {
	for _, e := range events {
		if e.Type == state.Bookmark {
			s.unread--
			continue
		}
		switch obj := e.Entry.Object().(type) {
		case *corev1.Node:
			s.node(e.Type, obj)
		case *corev1.Pod:
			s.pod(e.Type, obj)
		}
	}
}

func (s *session) node(t state.EventType, node *corev1.Node) {
	if t == state.Deleted {
		s.picture.removeNode(node.Name)
		return
	}
	if s.picture.setNode(node) {
		s.queue.wake(time.Now())
	}
}

func (s *session) pod(t state.EventType, pod *corev1.Pod) {
	finished := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case t == state.Deleted || finished:
		s.queue.remove(pod.UID)
		if s.picture.removePod(pod.UID) {
			s.queue.wake(time.Now())
		}
	case pod.Spec.NodeName != "":
		s.queue.remove(pod.UID)
		if s.picture.setPod(fit.NewPod(pod)) {
			s.queue.wakeSocial(time.Now())
		}
	case s.picture.assumed(pod.UID):
		// What the watch shows is older than the binding.
	case pod.Spec.SchedulerName != Name || pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0:
		s.queue.remove(pod.UID)
	default:
		s.queue.set(pod, time.Now())
	}
}

// schedule decides everything that is due, in batches.
func (s *session) schedule(ctx context.Context) error {
	for {
		due := s.queue.due(time.Now(), maxBatch)
		if len(due) == 0 {
			return nil
		}
		var chosen, refused []decision
		cluster := s.picture.cluster()
		for _, it := range due {
			node, err := fit.Place(cluster, it.pod)
			d := decision{item: it}
			if err != nil {
				d.why = err.Error()
				refused = append(refused, d)
				s.queue.park(it, time.Now())
				continue
			}
			d.node = node.Node.Name
			s.picture.assume(it.pod, node)
			chosen = append(chosen, d)
		}
		s.bind(ctx, chosen)
		s.explain(ctx, refused)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// decision is what was decided of one pod.
type decision struct {
	item *item
	node string
	why  string // no node
}
