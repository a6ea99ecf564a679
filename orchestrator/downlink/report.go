package downlink

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/state"
	"wherry/proto/nodelink"
)

// writers write a session's reports through state, several at once so that they share
// commits, those of one object in order.
type writers struct {
	*session
	seed   maphash.Seed
	queues [16]chan *nodelink.Report
}

func newWriters(s *session) *writers {
	w := &writers{session: s, seed: maphash.MakeSeed()}
	for i := range w.queues {
		w.queues[i] = make(chan *nodelink.Report, 16)
	}
	return w
}

func (w *writers) start(ctx context.Context, group *errgroup.Group) {
	for _, queue := range w.queues {
		group.Go(func() error {
			for r := range queue {
				if err := w.settle(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// close lets the writers end when they have written what they hold.
func (w *writers) close() {
	for _, queue := range w.queues {
		close(queue)
	}
}

// take hands a report to the writer of its object.
func (w *writers) take(ctx context.Context, r *nodelink.Report) error {
	queue := w.queues[maphash.String(w.seed, reported(r))%uint64(len(w.queues))]
	select {
	case queue <- r:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reported names what a report is about.
func reported(r *nodelink.Report) string {
	switch body := r.Body.(type) {
	case *nodelink.Report_Pod:
		return body.Pod.GetNamespace() + "/" + body.Pod.GetName()
	case *nodelink.Report_Event:
		return "event"
	}
	return "node"
}

// errIgnored says that a report can never be taken, wrapped with why.
var errIgnored = errors.New("report ignored")

func ignore(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errIgnored, fmt.Errorf(format, args...))
}

// settle writes a report and acknowledges it. What fails for now ends the session, so that the
// agent sends it again.
func (w *writers) settle(ctx context.Context, r *nodelink.Report) error {
	ack := &nodelink.Ack{Seq: r.Seq}
	err := w.writeReport(ctx, r)
	if final(err) {
		w.log.Warn("report ignored", "of", reported(r), "error", err)
		ack.Refused = err.Error()
	} else if err != nil {
		return fmt.Errorf("write the report of %s: %w", reported(r), err)
	}
	return w.send(ctx, &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Ack{Ack: ack}})
}

// final says whether an error would come again.
func final(err error) bool {
	if errors.Is(err, errIgnored) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= 400 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusConflict
}

func (w *writers) writeReport(ctx context.Context, r *nodelink.Report) error {
	switch body := r.Body.(type) {
	case *nodelink.Report_Pod:
		return w.writePod(ctx, body.Pod)
	case *nodelink.Report_Node:
		_, err := w.register(ctx, body.Node)
		return err
	case *nodelink.Report_Event:
		return w.writeEvent(ctx, body.Event)
	}
	return ignore("unknown kind of report")
}

func (w *writers) writePod(ctx context.Context, r *nodelink.PodStatus) error {
	pod, ok := state.Get[*corev1.Pod](w.State, r.Namespace, r.Name)
	if !ok && r.Gone {
		return nil // as it should be
	}
	if err := w.mine(pod, r); err != nil {
		return err
	}
	if len(r.Status) > 0 {
		if err := w.writeStatus(ctx, r); err != nil {
			return err
		}
	}
	if !r.Gone {
		return nil
	}
	if pod.DeletionTimestamp == nil {
		return ignore("pod %s/%s is gone from the node, but nobody asked for that", r.Namespace, r.Name)
	}
	now, uid := int64(0), types.UID(r.Uid)
	err := state.Delete[*corev1.Pod](ctx, w.State, r.Namespace, r.Name, state.DeleteOptions{
		Grace: &now, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // another one of its name, if any
	}
	return err
}

// mine says why the pod (nil: there is none) is not the node's to report about.
func (s *session) mine(pod *corev1.Pod, r *nodelink.PodStatus) error {
	switch {
	case pod == nil:
		return ignore("pod %s/%s does not exist", r.Namespace, r.Name)
	case string(pod.UID) != r.Uid:
		return ignore("pod %s/%s has been replaced by another of its name", r.Namespace, r.Name)
	case pod.Spec.NodeName != s.node:
		return ignore("pod %s/%s is not of this node", r.Namespace, r.Name)
	}
	return nil
}

func (w *writers) writeStatus(ctx context.Context, r *nodelink.PodStatus) error {
	status := &corev1.PodStatus{}
	if err := status.Unmarshal(r.Status); err != nil {
		return ignore("decode the status of pod %s/%s: %w", r.Namespace, r.Name, err)
	}
	_, err := state.UpdateStatus(ctx, w.State, r.Namespace, r.Name, func(live *corev1.Pod) error {
		if err := w.mine(live, r); err != nil {
			return err
		}
		if finished(live.Status.Phase) && live.Status.Phase != status.Phase {
			return ignore("pod %s/%s has ended as %s, it cannot become %s", r.Namespace, r.Name, live.Status.Phase, status.Phase)
		}
		live.Status = mergePodStatus(live.Status, *status.DeepCopy())
		return nil
	})
	return err
}

func finished(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// mergePodStatus takes the node's word for everything but what others say of a pod: its
// scheduling, and conditions that the node does not report.
func mergePodStatus(live, reported corev1.PodStatus) corev1.PodStatus {
	said := map[corev1.PodConditionType]bool{}
	for _, c := range reported.Conditions {
		said[c.Type] = true
	}
	for _, c := range live.Conditions {
		if !said[c.Type] {
			reported.Conditions = append(reported.Conditions, c)
		}
	}
	reported.NominatedNodeName = live.NominatedNodeName
	reported.ResourceClaimStatuses = live.ResourceClaimStatuses
	if reported.QOSClass == "" {
		reported.QOSClass = live.QOSClass
	}
	return reported
}

// writeEvent stores an event about the node or a pod of it. One with a name that the node
// has used before replaces that one.
func (w *writers) writeEvent(ctx context.Context, b []byte) error {
	event := &corev1.Event{}
	if err := event.Unmarshal(b); err != nil {
		return ignore("decode an event: %w", err)
	}
	if err := w.mayTell(event); err != nil {
		return err
	}
	event.Source.Host, event.ReportingInstance = w.node, w.node
	event.ObjectMeta = metav1.ObjectMeta{Namespace: event.Namespace, Name: event.Name}
	_, err := state.Create(ctx, w.State, event)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = state.Update(ctx, w.State, event.Namespace, event.Name, func(live *corev1.Event) error {
		if live.Source.Host != w.node {
			return ignore("event %s/%s is not of this node", event.Namespace, event.Name)
		}
		meta := live.ObjectMeta
		event.DeepCopyInto(live)
		live.ObjectMeta = meta
		return nil
	})
	return err
}

// mayTell says why an event is not the node's to tell.
func (w *writers) mayTell(e *corev1.Event) error {
	about := e.InvolvedObject
	switch about.Kind {
	case "Node":
		if about.Name == w.node {
			return nil
		}
	case "Pod":
		pod, ok := state.Get[*corev1.Pod](w.State, about.Namespace, about.Name)
		if !ok || pod.UID != about.UID || pod.Spec.NodeName == w.node {
			return nil // a pod that is gone may have been of this node
		}
	case "Service":
		service, ok := state.Get[*corev1.Service](w.State, about.Namespace, about.Name)
		if ok && service.UID == about.UID && service.Spec.Type != corev1.ServiceTypeClusterIP && service.Spec.Type != corev1.ServiceTypeExternalName {
			return nil // every node opens its node ports, and tells if one is taken
		}
	}
	return ignore("an event about %s %s/%s is not this node's to tell", about.Kind, about.Namespace, about.Name)
}
