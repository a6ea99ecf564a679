package pod

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestProperties lets pods of all shapes live through random lives and checks, at every step, what must always hold.
func TestProperties(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			p := randomPod(r)
			s := newStage(t, p)
			l := &life{stage: s, r: r, last: map[string]int{}}
			for range 60 {
				l.moment()
				if l.finished {
					break
				}
			}
			l.end()
		})
	}
}

func randomPod(r *rand.Rand) *corev1.Pod {
	policies := []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u1"}}
	p.Spec.RestartPolicy = policies[r.IntN(3)]
	for i := range r.IntN(3) {
		c := corev1.Container{Name: fmt.Sprintf("init%d", i), Image: "i:v1"}
		if r.IntN(2) == 0 {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
			if r.IntN(2) == 0 {
				c.StartupProbe = &corev1.Probe{}
			}
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	for i := range 1 + r.IntN(3) {
		c := corev1.Container{Name: fmt.Sprintf("app%d", i), Image: "i:v1"}
		if r.IntN(3) == 0 {
			c.ReadinessProbe = &corev1.Probe{}
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

type life struct {
	*stage
	r        *rand.Rand
	last     map[string]int // newest attempt that was started
	ending   bool
	finished bool
	terminal corev1.PodPhase
}

// moment lets something happen and takes a few steps.
func (l *life) moment() {
	l.now = l.now.Add(time.Duration(l.r.IntN(30_000)) * time.Millisecond)
	names := []string{}
	for name, c := range l.have.Containers {
		if c.alive() {
			names = append(names, name)
		}
	}
	switch n := l.r.IntN(12); {
	case n < 5 && len(names) > 0:
		l.exit(names[l.r.IntN(len(names))], []int{0, 1}[l.r.IntN(2)])
	case n == 5 && len(names) > 0:
		kinds := []ProbeKind{Startup, Liveness, Readiness}
		l.have.probed(l.now, names[l.r.IntN(len(names))], kinds[l.r.IntN(3)], l.r.IntN(3) > 0, 5*time.Second)
	case n == 6:
		l.fails[[]Verb{Prepare, Attach, Pull, Start, Teardown}[l.r.IntN(5)]] = "RunContainerError bad luck"
	case n == 7:
		l.restart(l.r.IntN(2) == 0)
		l.ending = false // it is noticed again
	case n == 8 && l.r.IntN(6) == 0:
		l.happen([]string{"delete", fmt.Sprint(l.r.IntN(60))})
	}
	l.look(l.r.IntN(6))
}

// end deletes the pod; it must go, and soon.
func (l *life) end() {
	clear(l.fails)
	if l.pod.DeletionTimestamp == nil {
		l.happen([]string{"delete", "30"})
	}
	l.now = l.now.Add(setupDelayMax)
	if l.look(50); !l.finished {
		l.t.Errorf("a deleted pod does not go: %+v", Step(l.now, l.pod, l.have))
	}
}

// look takes at most n steps.
func (l *life) look(n int) {
	for range n {
		l.have.settle(l.pod)
		l.have.Reported = Status(l.now, l.pod, l.have)
		l.checkStatus()
		a := Step(l.now, l.pod, l.have)
		l.check(a)
		if a.Verb == Finish {
			l.finished = true
		}
		if a.Verb == Finish || a.Verb == Wait {
			return
		}
		l.apply(a)
	}
}

func (l *life) checkStatus() {
	phase := l.have.Reported.Phase
	if l.terminal != "" && phase != l.terminal {
		l.t.Fatalf("the phase went from %s to %s", l.terminal, phase)
	}
	if phase == corev1.PodFailed || phase == corev1.PodSucceeded {
		l.terminal = phase
	}
}

func (l *life) check(a Action) {
	name := a.Container()
	c := l.have.Containers[name]
	switch a.Verb {
	case End:
		l.ending = true
	case Start:
		l.checkStart(name, c)
	case Pull, Prepare, Attach, BackOff:
		if l.ending {
			l.t.Fatalf("a pod that ends goes on: %+v", a)
		}
	case Stop:
		for _, name := range a.Containers {
			if !l.have.Containers[name].alive() {
				l.t.Fatalf("stops %s, which does not run", name)
			}
		}
	case Teardown, Finish:
		for name, c := range l.have.Containers {
			if c.alive() {
				l.t.Fatalf("%s while %s runs", a.Verb, name)
			}
		}
	case Wait:
		if !a.Until.IsZero() && !a.Until.After(l.now) {
			l.t.Fatalf("waits for what is over: %+v", a)
		}
	}
}

func (l *life) checkStart(name string, c *Container) {
	switch next := c.next(); {
	case l.ending:
		l.t.Fatalf("a pod that ends starts %s", name)
	case c.alive():
		l.t.Fatalf("two runs of %s at once", name)
	case l.have.Volumes == nil || l.have.Address == "":
		l.t.Fatalf("%s is started without volumes or address", name)
	case next <= l.last[name] && l.last[name] > 0:
		l.t.Fatalf("attempt %d of %s is used again", next, name)
	case l.now.Before(c.Trouble.Retry):
		l.t.Fatalf("%s is started before its back-off is over", name)
	default:
		if l.fails[Start] == "" {
			l.last[name] = next
		}
	}
	if isInit(l.pod, name) && initialized(l.pod, l.have) && !isSidecar(find(l.pod, name)) {
		l.t.Fatalf("init container %s is run again", name)
	}
	for spec := range containers(l.pod) {
		if spec.Name == name || !isInit(l.pod, spec.Name) || initialized(l.pod, l.have) {
			return
		}
		before := l.have.Containers[spec.Name]
		if done := before.Phase == Exited && before.Run.ExitCode == 0; !done && !(isSidecar(spec) && before.Started) {
			l.t.Fatalf("%s is started before init container %s is done", name, spec.Name)
		}
	}
}
