package deployment

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/dump"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Annotations that kubectl and Kubernetes' own controller know.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation             = "deployment.kubernetes.io/max-replicas"
)

// world is a Deployment and what it has, read once. Nothing in it is modified.
type world struct {
	deployment *appsv1.Deployment
	current    *appsv1.ReplicaSet   // whose template is the Deployment's; nil before it is made
	old        []*appsv1.ReplicaSet // the others, oldest first
	pods       []*corev1.Pod        // of all of them
}

func observe(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, pods []*corev1.Pod) *world {
	w := &world{deployment: d, pods: pods}
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range sets {
		if w.current == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			w.current = rs
		} else {
			w.old = append(w.old, rs)
		}
	}
	return w
}

// all is every ReplicaSet, the current one last.
func (w *world) all() []*appsv1.ReplicaSet {
	if w.current == nil {
		return w.old
	}
	return append(slices.Clone(w.old), w.current)
}

// sameTemplate compares templates but for the hash that the controller adds.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(withoutHash(a), withoutHash(b))
}

func withoutHash(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, ok := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return t
	}
	c := *t
	c.Labels = maps.Clone(t.Labels)
	delete(c.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return &c
}

// hash is the name that a template gets, as Kubernetes computes it: FNV-1a over its dump
// and the number of collisions so far.
func hash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	h.Write([]byte(dump.ForHash(*t))) // never fails
	if collisions != nil {
		b := [8]byte{byte(*collisions), byte(*collisions >> 8), byte(*collisions >> 16), byte(*collisions >> 24)}
		h.Write(b[:])
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

func (w *world) desired() int32 { return *w.deployment.Spec.Replicas }

func (w *world) rolling() bool {
	return w.deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// surge and unavailable are the bounds of a rolling update in pods: maxSurge rounds up,
// maxUnavailable down, and they are never both 0.
func (w *world) surge() int32 {
	s, _ := w.fences()
	return s
}

func (w *world) unavailable() int32 {
	_, u := w.fences()
	return min(u, w.desired())
}

func (w *world) fences() (surge, unavailable int32) {
	r := w.deployment.Spec.Strategy.RollingUpdate
	if !w.rolling() || r == nil || w.desired() == 0 {
		return 0, 0
	}
	surge = scaled(r.MaxSurge, w.desired(), true)
	unavailable = scaled(r.MaxUnavailable, w.desired(), false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func scaled(v *intstr.IntOrString, of int32, up bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), int(of), up)
	if err != nil {
		return 0 // validation has refused it
	}
	return int32(n)
}

func wanted(sets ...*appsv1.ReplicaSet) int32 {
	var n int32
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

// held counts pods that are wanted or still there: a ReplicaSet that was scaled down a
// moment ago keeps its pods until its controller has deleted them.
func held(sets ...*appsv1.ReplicaSet) int32 {
	var n int32
	for _, rs := range sets {
		n += max(rs.Status.Replicas, *rs.Spec.Replicas)
	}
	return n
}

// available counts pods that will stay: a ReplicaSet that was scaled down a moment ago still
// reports more than it is to keep.
func available(sets ...*appsv1.ReplicaSet) int32 {
	var n int32
	for _, rs := range sets {
		n += min(rs.Status.AvailableReplicas, *rs.Spec.Replicas)
	}
	return n
}

func revision(annotations map[string]string) int64 {
	n, err := strconv.ParseInt(annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0 // none yet, or not ours
	}
	return n
}
