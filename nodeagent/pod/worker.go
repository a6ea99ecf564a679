package pod

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/logfile"
)

// worker runs one pod. Its loop alone touches have, doing and probes.
type worker struct {
	*Config
	log    *slog.Logger
	events *recorder
	// observe returns when what the driver knows now has been told.
	observe func(ctx context.Context, driver string)
	unknown bool // the control plane knows the pod no more; guarded by Workers.mu

	mu     sync.Mutex
	wish   *corev1.Pod       // the newest
	facts  []func(h *Have)   // what happened since the last round, in order
	told   chan struct{}     // holds a token while there is something new
	latest *corev1.PodStatus // as reported last
	news   chan struct{}     // closed by the next report, if somebody waits for it

	have   *Have
	doing  *doing
	probes map[probeKey]*probing
	actors sync.WaitGroup // actions and probes
}

// doing is the action that is being carried out.
type doing struct {
	Action
	cancel context.CancelFunc
}

func newWorker(c *Config, p *corev1.Pod, observe func(context.Context, string)) *worker {
	have := recall(time.Now(), p, c.Address)
	return &worker{
		Config:  c,
		log:     c.Log.With("pod", p.Namespace+"/"+p.Name, "uid", p.UID),
		events:  &recorder{reports: c.Reports, node: c.Node},
		observe: observe,
		wish:    p,
		told:    make(chan struct{}, 1),
		have:    have,
		latest:  have.Reported.DeepCopy(),
		probes:  map[probeKey]*probing{},
	}
}

// want replaces the wish. Labels and annotations may be in files and variables.
func (w *worker) want(p *corev1.Pod) {
	w.mu.Lock()
	old := w.wish
	w.wish = p
	w.mu.Unlock()
	fact := func(*Have) {}
	if !maps.Equal(old.Labels, p.Labels) || !maps.Equal(old.Annotations, p.Annotations) {
		fact = (*Have).objectsChanged
	}
	w.tell(fact)
}

// tell hands a fact to the loop. It never waits.
func (w *worker) tell(fact func(h *Have)) {
	w.mu.Lock()
	w.facts = append(w.facts, fact)
	w.mu.Unlock()
	select {
	case w.told <- struct{}{}:
	default: // there is a token
	}
}

// missing tells of runs that no driver knows.
func (w *worker) missing(known map[runtime.ID]bool) {
	uid := string(w.wish.UID)
	w.tell(func(h *Have) {
		for name, c := range h.Containers {
			if id := (runtime.ID{Pod: uid, Container: name, Attempt: c.Attempt}); !known[id] {
				h.lost(time.Now(), id)
			}
		}
	})
}

func (w *worker) take() (*corev1.Pod, []func(*Have)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	facts := w.facts
	w.facts = nil
	return w.wish, facts
}

// current is the pod as it is wanted, and its status as it was reported last.
func (w *worker) current() (*corev1.Pod, *corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wish, w.latest
}

// run goes on until the pod is gone, or the context ends: containers then go on.
func (w *worker) run(ctx context.Context) (gone bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.actors.Wait()
	defer cancel()
	p, _ := w.current()
	if digests := w.have.digests(); digests != nil {
		w.Images.InUse(string(p.UID), digests)
	}
	if w.have.Refused != "" {
		w.events.warning(p, "", "Failed", "Error: %s", w.have.Refused)
	}
	for {
		want, facts := w.take()
		for _, fact := range facts {
			fact(w.have)
		}
		w.have.settle(want)
		w.watch(ctx, want)
		a := w.advance(ctx, want)
		if a.Verb == Finish {
			return w.finish(want)
		}
		if !w.sleep(ctx, a.Until) {
			return false
		}
	}
}

// advance reports and does what is next, until that takes time.
func (w *worker) advance(ctx context.Context, want *corev1.Pod) Action {
	for {
		w.report(want)
		now := time.Now()
		a := Step(now, want, w.have)
		switch {
		case a.Verb == End:
			w.log.Info("pod ends", "why", a.Why)
			w.have.ended(now, a)
			if a.Reason != "" {
				w.events.normal(want, "", a.Reason, "%s", a.Message)
			}
		case a.Verb == BackOff:
			w.backOff(want, a)
		case w.doing != nil:
			if w.have.Ending != nil && preempts(a, w.doing.Action) {
				w.doing.cancel()
			}
			return Action{Verb: Wait}
		case a.Verb == Wait, a.Verb == Finish:
			return a
		default:
			w.begin(ctx, want, a)
			return Action{Verb: Wait}
		}
	}
}

// preempts says that a pod that ends cannot wait for what is being done.
func preempts(next, doing Action) bool {
	switch doing.Verb {
	case Prepare, Attach, Refresh, Pull, Start:
		return next.Verb == Stop || next.Verb == Teardown
	case Stop:
		return next.Verb == Stop && (next.Deadline.Before(doing.Deadline) || len(next.Containers) > len(doing.Containers))
	}
	return false
}

// begin carries the action out beside the loop.
func (w *worker) begin(ctx context.Context, want *corev1.Pod, a Action) {
	w.log.Debug(string(a.Verb), "containers", a.Containers, "why", a.Why)
	ctx, cancel := context.WithCancel(ctx)
	w.doing = &doing{Action: a, cancel: cancel}
	have := w.have.clone()
	if a.Verb == Stop {
		for _, name := range a.Containers {
			w.have.Containers[name].Stopping = true
		}
	}
	w.actors.Go(func() {
		result := w.act(ctx, want, have, a)
		w.tell(func(h *Have) {
			cancel()
			w.doing = nil
			result(h)
		})
	})
}

func (w *worker) backOff(want *corev1.Pod, a Action) {
	name := a.Container()
	pulling := w.have.Containers[name].Trouble.Reason == reasonPull
	w.have.backedOff(want, name)
	if pulling {
		w.events.normal(want, name, "BackOff", "Back-off pulling image %q", imageOf(want, name))
		return
	}
	w.events.warning(want, name, "BackOff", "Back-off restarting failed container %s in pod %s", name, format(want))
}

// report says what the status is, if that is news.
func (w *worker) report(want *corev1.Pod) {
	s := Status(time.Now(), want, w.have)
	if equality.Semantic.DeepEqual(s, w.have.Reported) {
		return
	}
	w.have.Reported = s
	w.publish(&s)
	w.Reports.Status(want, &s, false)
}

func (w *worker) publish(s *corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = s
	if w.news != nil {
		close(w.news)
		w.news = nil
	}
}

// isRunning says whether a run goes on, as far as was reported, and returns a channel that is closed by the next report.
func (w *worker) isRunning(id runtime.ID) (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news == nil {
		w.news = make(chan struct{})
	}
	for _, c := range slices.Concat(w.latest.InitContainerStatuses, w.latest.ContainerStatuses) {
		if c.Name == id.Container {
			return c.State.Running != nil && int(c.RestartCount) == id.Attempt, w.news
		}
	}
	return false, w.news
}

func (w *worker) finish(want *corev1.Pod) (gone bool) {
	w.log.Info("pod is gone")
	w.Reports.Status(want, w.have.Reported.DeepCopy(), true)
	return true
}

// sleep waits for something new, or until then; zero: as long as it takes.
func (w *worker) sleep(ctx context.Context, until time.Time) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.told:
	case <-due:
	}
	return true
}

// lastWords adds the end of the log to a container that failed without a message, if it asks for that.
func (w *worker) lastWords(s runtime.Status) runtime.Status {
	p, _ := w.current()
	spec := find(p, s.ID.Container)
	if spec == nil || spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError ||
		s.State != runtime.Exited || s.ExitCode == 0 || s.Message != "" {
		return s
	}
	var b bytes.Buffer
	tail := int64(80)
	if err := logfile.Read(context.Background(), w.specs.folders.Log(s.ID), logfile.ReadOptions{Tail: &tail}, &b); err != nil {
		w.log.Debug("no log to take the termination message from", "container", s.ID.Container, "err", err)
	}
	text := b.Bytes()
	s.Message = strings.ToValidUTF8(string(text[max(0, len(text)-2048):]), "")
	return s
}

// id of a container's run.
func (w *worker) id(p *corev1.Pod, name string, attempt int) runtime.ID {
	return runtime.ID{Pod: string(p.UID), Container: name, Attempt: attempt}
}
