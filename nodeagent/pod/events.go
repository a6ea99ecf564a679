package pod

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxEvents bounds how many different events of one pod are counted on; then counting begins again.
const maxEvents = 64

// recorder tells what happens to one pod. The same event again raises the count of the first one.
type recorder struct {
	reports Reports
	node    string

	mu   sync.Mutex
	last int64 // in the name of the last event
	seen map[said]*corev1.Event
}

type said struct{ kind, reason, message, field string }

// event tells about the pod, or about one of its containers if that is not "".
func (r *recorder) event(p *corev1.Pod, container, kind, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := said{kind, reason, message, fieldPath(p, container)}
	now := metav1.NewTime(time.Now())
	e := r.seen[key]
	if e == nil {
		e = r.first(p, key, now)
	} else {
		e = e.DeepCopy() // the one before may still be on its way
		e.Count++
		e.LastTimestamp = now
	}
	if r.seen == nil || len(r.seen) >= maxEvents {
		r.seen = map[said]*corev1.Event{}
	}
	r.seen[key] = e
	r.reports.Event(e)
}

func (r *recorder) first(p *corev1.Pod, key said, now metav1.Time) *corev1.Event {
	r.last = max(r.last+1, now.UnixNano())
	return &corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", p.Name, r.last), Namespace: p.Namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID,
			ResourceVersion: p.ResourceVersion, FieldPath: key.field,
		},
		Type: key.kind, Reason: key.reason, Message: key.message,
		Source:         corev1.EventSource{Component: Component, Host: r.node},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: Component, ReportingInstance: r.node,
	}
}

// Component is who tells events.
const Component = "wherry-agent"

func fieldPath(p *corev1.Pod, container string) string {
	switch {
	case container == "":
		return ""
	case isInit(p, container):
		return "spec.initContainers{" + container + "}"
	}
	return "spec.containers{" + container + "}"
}

func (r *recorder) normal(p *corev1.Pod, container, reason, message string, args ...any) {
	r.event(p, container, corev1.EventTypeNormal, reason, fmt.Sprintf(message, args...))
}

func (r *recorder) warning(p *corev1.Pod, container, reason, message string, args ...any) {
	r.event(p, container, corev1.EventTypeWarning, reason, fmt.Sprintf(message, args...))
}
