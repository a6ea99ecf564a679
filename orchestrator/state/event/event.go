// Package event writes Event objects: what the control plane tells users about what it
// did. Like client-go's recorder it counts repetitions in one object, combines events
// that differ only in their message when they become many, and limits how many one
// object may cause.
package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/state"
)

const (
	// waiting is how many events may wait to be written; more are dropped.
	waiting = 1000
	// Lifetime is how long an event is kept after it was last seen.
	Lifetime = time.Hour
	// sweep is how often old events are looked for.
	sweep = 5 * time.Minute
)

// told is an event, and who owns it.
type told struct {
	*corev1.Event
	manager string
}

// Writer writes the events of all its recorders. See New.
type Writer struct {
	state *state.State
	log   *slog.Logger
	queue chan told
	seen  *correlator
	last  int64 // the number in the newest name
}

// New returns a writer; nothing is written until Run. log may be nil.
func New(s *state.State, log *slog.Logger) *Writer {
	if log == nil {
		log = slog.Default()
	}
	return &Writer{state: s, log: log, queue: make(chan told, waiting), seen: newCorrelator()}
}

// Recorder returns a recorder whose events say that they come from component, which is a part of the program
// that manager names (state.ManagerController).
func (w *Writer) Recorder(component, manager string) *Recorder {
	return &Recorder{writer: w, component: component, manager: manager}
}

// Run writes events, and removes those that have not been seen for Lifetime, until ctx
// ends, and then returns nil. What waits then is lost.
func (w *Writer) Run(ctx context.Context) error {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.queue:
			if err := w.write(state.As(ctx, e.manager), e.Event); err != nil && ctx.Err() == nil {
				w.log.Warn("event not written", "object", e.InvolvedObject.Name, "reason", e.Reason, "error", err)
			}
		case <-tick.C:
			if err := w.sweep(ctx); err != nil && ctx.Err() == nil {
				w.log.Warn("old events not removed", "error", err)
			}
		}
	}
}

// write creates the event, or counts it in the one that says the same.
func (w *Writer) write(ctx context.Context, e *corev1.Event) error {
	known, verdict := w.seen.observe(e)
	if verdict == drop {
		return nil
	}
	if known.name != "" {
		err := w.repeat(ctx, known.name, e)
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	w.last = max(w.last+1, e.FirstTimestamp.UnixNano())
	e.Name = eventName(e.InvolvedObject.Name, w.last)
	if _, err := state.Create(ctx, w.state, e); err != nil {
		return err
	}
	known.name = e.Name
	return nil
}

// maxName is the length of the longest name that is valid.
const maxName = 253

// eventName is object's name and a number, shortened to be a valid name.
func eventName(object string, number int64) string {
	suffix := fmt.Sprintf(".%x", number)
	object = object[:min(len(object), maxName-len(suffix))]
	return strings.TrimRight(object, "-.") + suffix
}

func (w *Writer) repeat(ctx context.Context, name string, e *corev1.Event) error {
	_, err := state.Update(ctx, w.state, e.Namespace, name, func(known *corev1.Event) error {
		known.Count++
		known.LastTimestamp = e.LastTimestamp
		known.Message = e.Message
		return nil
	})
	return err
}

// sweep deletes what is older than Lifetime, by whomever it was written.
func (w *Writer) sweep(ctx context.Context) error {
	var errs []error
	oldest := time.Now().Add(-Lifetime)
	for _, e := range state.List[*corev1.Event](w.state, state.Selector{}) {
		if !lastSeen(e).Before(oldest) {
			continue
		}
		at := e.ResourceVersion
		err := state.Delete[*corev1.Event](ctx, w.state, e.Namespace, e.Name, state.DeleteOptions{
			Preconditions: &metav1.Preconditions{ResourceVersion: &at},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func lastSeen(e *corev1.Event) time.Time {
	newest := e.CreationTimestamp.Time
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if t.After(newest) {
			newest = t
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(newest) {
		newest = e.Series.LastObservedTime.Time
	}
	return newest
}

// Recorder makes events of one component. A nil Recorder makes none.
type Recorder struct {
	writer    *Writer
	component string
	manager   string
}

// Eventf tells about obj, which must have a name. eventtype is corev1.EventTypeNormal or
// EventTypeWarning. It never waits: when too many events are to be written, it is dropped.
func (r *Recorder) Eventf(obj state.Object, eventtype, reason, format string, args ...any) {
	if r == nil {
		return
	}
	e := r.event(obj, eventtype, reason, fmt.Sprintf(format, args...))
	select {
	case r.writer.queue <- told{e, r.manager}:
	default:
		r.writer.log.Warn("event dropped: too many wait to be written", "object", obj.GetName(), "reason", reason)
	}
}

func (r *Recorder) event(obj state.Object, eventtype, reason, message string) *corev1.Event {
	apiVersion, kind := r.kindOf(obj).ToAPIVersionAndKind()
	namespace := obj.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	t := metav1.Now()
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: apiVersion, Kind: kind,
			Namespace: obj.GetNamespace(), Name: obj.GetName(),
			UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
		},
		Reason: reason, Message: message, Type: eventtype,
		Source:              corev1.EventSource{Component: r.component},
		ReportingController: r.component,
		FirstTimestamp:      t, LastTimestamp: t, Count: 1,
	}
}

func (r *Recorder) kindOf(obj state.Object) schema.GroupVersionKind {
	if k, ok := r.writer.state.Kinds().For(obj); ok {
		return k.GroupVersionKind
	}
	return obj.GetObjectKind().GroupVersionKind()
}
