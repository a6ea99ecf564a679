package deployment

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// plan is what is to be done now. Its zero value is nothing.
type plan struct {
	revision string             // to record on the Deployment; "" as it is
	create   *appsv1.ReplicaSet // the ReplicaSet of the new template
	changes  []change
	remove   []*appsv1.ReplicaSet // history beyond its limit
}

// change is the new shape of one ReplicaSet.
type change struct {
	set         *appsv1.ReplicaSet
	replicas    int32
	minReady    int32
	annotations map[string]string
}

// decide is pure: what the controller of Kubernetes would do next in this world.
func decide(w *world) plan {
	d := w.deployment
	p := plan{}
	if !d.Spec.Paused && (w.current == nil || revision(w.current.Annotations) < w.nextRevision()) {
		p.revision = strconv.FormatInt(w.nextRevision(), 10)
	} else if w.current != nil && w.current.Annotations[revisionAnnotation] != d.Annotations[revisionAnnotation] {
		p.revision = w.current.Annotations[revisionAnnotation]
	}
	if p.revision == d.Annotations[revisionAnnotation] {
		p.revision = ""
	}
	target := w.replicas()
	if w.current == nil && !d.Spec.Paused && w.mayCreate() {
		p.create = w.newSet()
	}
	for _, rs := range w.all() {
		n, ok := target[rs]
		if !ok {
			n = *rs.Spec.Replicas
		}
		if c := w.shape(rs, n); c.differs() {
			p.changes = append(p.changes, c)
		}
	}
	if p.create == nil && len(p.changes) == 0 && (d.Spec.Paused || w.complete()) {
		p.remove = w.tooOld()
	}
	return p
}

// nextRevision is the current ReplicaSet's own revision if it is the highest, else one above
// the highest.
func (w *world) nextRevision() int64 {
	highest := int64(0)
	for _, rs := range w.old {
		highest = max(highest, revision(rs.Annotations))
	}
	return highest + 1
}

// mayCreate: with strategy Recreate only when no old pod is left.
func (w *world) mayCreate() bool {
	if w.rolling() {
		return true
	}
	return wanted(w.old...) == 0 && !w.oldPodsRun()
}

func (w *world) oldPodsRun() bool {
	return slices.ContainsFunc(w.pods, func(p *corev1.Pod) bool {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		return !ended && (w.current == nil || !metav1.IsControlledBy(p, w.current))
	})
}

// newSet is the ReplicaSet of the Deployment's template.
func (w *world) newSet() *appsv1.ReplicaSet {
	d := w.deployment
	template := d.Spec.Template.DeepCopy()
	h := hash(template, d.Status.CollisionCount)
	template.Labels = with(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, h)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = with(selector.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, h)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-" + h, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template},
	}
	n := w.newReplicas(0)
	rs.Spec.Replicas = &n
	rs.Annotations = w.annotate(nil, true)
	return rs
}

func with(m map[string]string, key, value string) map[string]string {
	c := maps.Clone(m)
	if c == nil {
		c = map[string]string{}
	}
	c[key] = value
	return c
}

// shape is what rs should look like with n replicas.
func (w *world) shape(rs *appsv1.ReplicaSet, n int32) change {
	c := change{set: rs, replicas: n, minReady: rs.Spec.MinReadySeconds, annotations: rs.Annotations}
	if rs == w.current {
		c.minReady = w.deployment.Spec.MinReadySeconds
		c.annotations = w.annotate(rs.Annotations, !w.deployment.Spec.Paused)
	} else if n > 0 || *rs.Spec.Replicas != n {
		c.annotations = w.sizes(rs.Annotations)
	}
	return c
}

func (c *change) differs() bool {
	return c.replicas != *c.set.Spec.Replicas || c.minReady != c.set.Spec.MinReadySeconds || !maps.Equal(c.annotations, c.set.Annotations)
}

// annotate gives the current ReplicaSet the Deployment's annotations, its sizes and, when a
// new revision begins, its number, keeping the numbers that it had in its history.
func (w *world) annotate(have map[string]string, renumber bool) map[string]string {
	a := w.sizes(have)
	for k, v := range w.deployment.Annotations {
		if !ownAnnotation(k) {
			a[k] = v
		}
	}
	was := revision(have)
	if next := w.nextRevision(); renumber && was < next {
		a[revisionAnnotation] = strconv.FormatInt(next, 10)
		if was > 0 {
			a[revisionHistoryAnnotation] = strings.TrimPrefix(have[revisionHistoryAnnotation]+","+strconv.FormatInt(was, 10), ",")
		}
	}
	return a
}

// ownAnnotation says that an annotation of the Deployment is not for its ReplicaSets.
func ownAnnotation(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, revisionAnnotation, revisionHistoryAnnotation, desiredAnnotation, maxAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// sizes records what the Deployment's size was when this ReplicaSet was last scaled.
func (w *world) sizes(have map[string]string) map[string]string {
	a := with(have, desiredAnnotation, strconv.Itoa(int(w.desired())))
	a[maxAnnotation] = strconv.Itoa(int(w.desired() + w.surge()))
	return a
}

// complete says that the rollout is done: nothing but available pods of the new template.
func (w *world) complete() bool {
	s := &w.deployment.Status
	return s.UpdatedReplicas == w.desired() && s.Replicas == w.desired() && s.AvailableReplicas == w.desired() &&
		s.ObservedGeneration >= w.deployment.Generation
}

// tooOld is history beyond revisionHistoryLimit that holds nothing any more.
func (w *world) tooOld() []*appsv1.ReplicaSet {
	limit := w.deployment.Spec.RevisionHistoryLimit
	if limit == nil {
		return nil
	}
	var idle []*appsv1.ReplicaSet
	for _, rs := range w.old {
		if rs.DeletionTimestamp == nil && *rs.Spec.Replicas == 0 && rs.Status.Replicas == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			idle = append(idle, rs)
		}
	}
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(revision(a.Annotations), revision(b.Annotations))
	})
	return idle[:max(0, len(idle)-int(*limit))]
}
