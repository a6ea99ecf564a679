package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
)

// sizes of ReplicaSets that are to change; those that are not named stay.
type targets map[*appsv1.ReplicaSet]int32

// of is what rs is to have.
func (t targets) of(rs *appsv1.ReplicaSet) int32 {
	if n, ok := t[rs]; ok {
		return n
	}
	return *rs.Spec.Replicas
}

// replicas decides the size of every ReplicaSet. A Deployment that is paused, or whose own
// size has changed, is scaled as it is; else the rollout takes its next step.
func (w *world) replicas() targets {
	switch {
	case w.deployment.Spec.Paused || w.resized():
		return w.scale()
	case w.rolling():
		return w.roll()
	}
	return w.recreate()
}

// resized says that the Deployment's size is not the one that its ReplicaSets were scaled to.
func (w *world) resized() bool {
	for _, rs := range w.all() {
		n, err := strconv.Atoi(rs.Annotations[desiredAnnotation])
		if *rs.Spec.Replicas > 0 && err == nil && int32(n) != w.desired() {
			return true
		}
	}
	return false
}

// recreate lets all old pods end before there are new ones.
func (w *world) recreate() targets {
	t := targets{}
	for _, rs := range w.old {
		t[rs] = 0
	}
	if w.current != nil && w.mayCreate() {
		t[w.current] = w.desired()
	}
	return t
}

// roll takes the next step of a rolling update: new pods as far as maxSurge lets, else old
// pods fewer as far as maxUnavailable lets.
func (w *world) roll() targets {
	if w.current == nil {
		return nil // first the new ReplicaSet
	}
	if n := w.newReplicas(*w.current.Spec.Replicas); n != *w.current.Spec.Replicas {
		return targets{w.current: n}
	}
	return w.shrinkOld()
}

// newReplicas is how many pods the new ReplicaSet may have, given how many it has.
func (w *world) newReplicas(have int32) int32 {
	if !w.rolling() || have > w.desired() {
		return w.desired()
	}
	room := w.desired() + w.surge() - held(w.all()...)
	return have + max(0, min(room, w.desired()-have))
}

// shrinkOld takes pods from old ReplicaSets: first those that are not available anyway, then
// available ones beyond the minimum.
func (w *world) shrinkOld() targets {
	t := targets{}
	minimum := w.desired() - w.unavailable()
	newUnavailable := *w.current.Spec.Replicas - w.current.Status.AvailableReplicas
	spare := wanted(w.all()...) - minimum - newUnavailable
	if spare <= 0 {
		return nil
	}
	for _, rs := range w.old {
		n := max(0, min(spare, *rs.Spec.Replicas-rs.Status.AvailableReplicas))
		if n > 0 {
			t[rs] = *rs.Spec.Replicas - n
			spare -= n
		}
	}
	spare = available(w.all()...) - minimum
	for _, rs := range w.old {
		n := max(0, min(spare, t.of(rs)))
		if n > 0 {
			t[rs] = t.of(rs) - n
			spare -= n
		}
	}
	return t
}

// scale spreads a new size over the ReplicaSets in proportion to what they have, so that a
// rollout that is under way, or stuck, keeps its balance.
func (w *world) scale() targets {
	if one := w.onlyActive(); one != nil {
		return targets{one: w.desired()}
	}
	t := targets{}
	if w.saturated() {
		for _, rs := range w.old {
			t[rs] = 0
		}
		return t
	}
	active := slices.DeleteFunc(slices.Clone(w.all()), func(rs *appsv1.ReplicaSet) bool { return *rs.Spec.Replicas == 0 })
	if !w.rolling() || len(active) == 0 {
		return t
	}
	allowed := int32(0)
	if w.desired() > 0 {
		allowed = w.desired() + w.surge()
	}
	w.spread(t, active, allowed-wanted(active...))
	return t
}

// spread adds pods (or takes them, if add is negative); what rounding leaves goes to the largest.
func (w *world) spread(t targets, active []*appsv1.ReplicaSet, add int32) {
	slices.SortStableFunc(active, func(a, b *appsv1.ReplicaSet) int {
		byAge := a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		if add > 0 {
			byAge = -byAge
		}
		return cmp.Or(cmp.Compare(*b.Spec.Replicas, *a.Spec.Replicas), byAge)
	})
	left := add
	for _, rs := range active {
		share := w.share(rs)
		if add > 0 {
			share = min(share, left)
		} else {
			share = max(share, left)
		}
		if add == 0 {
			share = 0
		}
		t[rs] = *rs.Spec.Replicas + share
		left -= share
	}
	t[active[0]] = max(0, t[active[0]]+left)
}

// share is how many pods rs gains or loses when the whole keeps its proportions.
func (w *world) share(rs *appsv1.ReplicaSet) int32 {
	have := *rs.Spec.Replicas
	if w.desired() == 0 {
		return -have
	}
	was, err := strconv.Atoi(rs.Annotations[maxAnnotation])
	if err != nil || was == 0 {
		was = int(w.deployment.Status.Replicas)
	}
	if was == 0 {
		return 0
	}
	return int32(math.Round(float64(have)*float64(w.desired()+w.surge())/float64(was))) - have
}

// onlyActive is the one ReplicaSet that has pods, or the newest if none has; nil if several do.
func (w *world) onlyActive() *appsv1.ReplicaSet {
	var active []*appsv1.ReplicaSet
	for _, rs := range w.all() {
		if *rs.Spec.Replicas > 0 {
			active = append(active, rs)
		}
	}
	switch all := w.all(); {
	case len(active) == 1:
		return active[0]
	case len(active) == 0 && len(all) > 0:
		return all[len(all)-1]
	}
	return nil
}

// saturated says that the new ReplicaSet has all the pods of the Deployment, available.
func (w *world) saturated() bool {
	rs := w.current
	return rs != nil && *rs.Spec.Replicas == w.desired() && rs.Status.AvailableReplicas == w.desired() &&
		rs.Annotations[desiredAnnotation] == strconv.Itoa(int(w.desired()))
}
