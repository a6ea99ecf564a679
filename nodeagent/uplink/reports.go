package uplink

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"wherry/proto/nodelink"
)

// maxEvents bounds the events that wait; the oldest are lost first. Nothing else can pile up:
// there is one report per pod.
const maxEvents = 1000

// reports are what the control plane is still to know: of each object the newest state.
type reports struct {
	wake chan struct{} // has an element when next may have something

	mu      sync.Mutex
	seq     uint64
	all     map[string]*report // by what they are about
	waiting []*report          // to be sent, in order
	flying  map[uint64]*report // sent, not acknowledged; by seq
	events  int                // in all
}

// report is about one object. It is either waiting or flying.
type report struct {
	about   string
	event   bool
	body    *nodelink.Report // its seq is not used
	changed bool             // while it was flying
}

func newReports() *reports {
	return &reports{
		wake:   make(chan struct{}, 1),
		all:    map[string]*report{},
		flying: map[uint64]*report{},
	}
}

// Status says what the pod's state is now; only the newest one counts. gone says that nothing
// of the pod is left here. It does not wait and keeps neither argument.
func (u *Uplink) Status(p *corev1.Pod, s *corev1.PodStatus, gone bool) {
	status := &nodelink.PodStatus{Namespace: p.Namespace, Name: p.Name, Uid: string(p.UID), Gone: gone}
	if s != nil {
		b, err := s.Marshal()
		if err != nil {
			u.log.Error("encode a pod's status", "pod", p.UID, "error", err) // a mistake of the program
			return
		}
		status.Status = b
	}
	u.reports.put("pod "+status.Uid, &nodelink.Report{Body: &nodelink.Report_Pod{Pod: status}})
}

// Event tells about a pod or the node. An event with a name that was used before replaces that
// one. It does not wait and does not keep e.
func (u *Uplink) Event(e *corev1.Event) {
	b, err := e.Marshal()
	if err != nil {
		u.log.Error("encode an event", "event", e.Name, "error", err) // a mistake of the program
		return
	}
	u.reports.put("event "+e.Namespace+"/"+e.Name, &nodelink.Report{Body: &nodelink.Report_Event{Event: b}})
}

// NodeStatus says what this machine is now, as Config.Node does at the beginning of a session. It
// does not wait and does not keep n.
func (u *Uplink) NodeStatus(n *corev1.Node) {
	b, err := n.Marshal()
	if err != nil {
		u.log.Error("encode the node", "error", err) // a mistake of the program
		return
	}
	u.reports.put("node", &nodelink.Report{Body: &nodelink.Report_Node{Node: b}})
}

// put notes the newest state of what it is about.
func (r *reports) put(about string, body *nodelink.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep, ok := r.all[about]
	if !ok {
		rep = &report{about: about, event: body.GetEvent() != nil}
		r.add(rep)
	}
	rep.body, rep.changed = body, true
	r.signal()
}

// add makes a report wait; r.mu is held.
func (r *reports) add(rep *report) {
	if rep.event {
		if r.events == maxEvents {
			r.dropEvent()
		}
		r.events++
	}
	r.all[rep.about] = rep
	r.waiting = append(r.waiting, rep)
}

// dropEvent forgets the event that has waited longest.
func (r *reports) dropEvent() {
	i := slices.IndexFunc(r.waiting, func(o *report) bool { return o.event })
	if i < 0 {
		return // all are flying
	}
	r.forget(r.waiting[i])
	r.waiting = slices.Delete(r.waiting, i, i+1)
}

func (r *reports) forget(rep *report) {
	delete(r.all, rep.about)
	if rep.event {
		r.events--
	}
}

// next is the next report to send; nil if none waits.
func (r *reports) next() *nodelink.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	rep := r.waiting[0]
	r.waiting = r.waiting[1:]
	rep.changed = false
	r.seq++
	r.flying[r.seq] = rep
	return &nodelink.Report{Seq: r.seq, Body: rep.body.Body}
}

// settle takes an acknowledgement. What has changed since is sent again.
func (r *reports) settle(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep, ok := r.flying[seq]
	if !ok {
		return
	}
	delete(r.flying, seq)
	if !rep.changed {
		r.forget(rep)
		return
	}
	r.waiting = append(r.waiting, rep)
	r.signal()
}

// restart makes what an earlier session has not acknowledged wait again, first in the queue.
func (r *reports) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var again []*report
	for _, seq := range slices.Sorted(maps.Keys(r.flying)) {
		again = append(again, r.flying[seq])
	}
	clear(r.flying)
	r.waiting = append(again, r.waiting...)
}

func (r *reports) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
