package pod

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"wherry/nodeagent/runtime"

	"os"
)

var update = flag.Bool("update", false, "write what stories say into testdata")

// TestStories plays testdata/*.txtar: a pod, and a script of what happens to it. Lines that are indented are what Step and
// Status say then.
//
//	go                   take steps until there is nothing to do; each succeeds
//	after 10s            time goes by
//	exit NAME CODE       a container ends by itself
//	fail VERB TEXT       the next action of that kind fails
//	probe NAME KIND ok   a verdict of a probe; or "failed"
//	gate TYPE True       somebody sets a condition of the pod
//	delete SECONDS       the pod is deleted with that grace
//	image NAME REF       the pod's container gets another image
//	restart              the agent is restarted; containers go on
//	reboot               the machine is restarted; containers are gone
//	conditions           show the pod's conditions
//	containers           show the messages of containers
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, archive.Files[0].Data, string(archive.Files[1].Data))
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// stage is where a story plays.
type stage struct {
	t     *testing.T
	now   time.Time
	pod   *corev1.Pod
	have  *Have
	fails map[Verb]string
	out   strings.Builder
}

func newStage(t *testing.T, p *corev1.Pod) *stage {
	s := &stage{t: t, now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), pod: p, fails: map[Verb]string{}}
	s.have = recall(s.now, p, "192.0.2.1")
	return s
}

func parsePod(t *testing.T, data []byte) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u1"}}
	if err := yaml.UnmarshalStrict(data, p); err != nil {
		t.Fatal(err)
	}
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	for c := range containers(p) {
		if c.Image == "" {
			c.Image = c.Name + ":v1"
		}
	}
	return p
}

func play(t *testing.T, pod []byte, script string) string {
	s := newStage(t, parsePod(t, pod))
	for line := range strings.Lines(script) {
		switch {
		case strings.HasPrefix(line, " "):
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
			s.out.WriteString(line)
		default:
			s.out.WriteString(line)
			s.happen(strings.Fields(line))
		}
	}
	return s.out.String()
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(&s.out, "    "+format+"\n", args...)
}

func (s *stage) happen(words []string) {
	arg := func(i int) string {
		if i >= len(words) {
			s.t.Fatalf("%q wants more words", words)
		}
		return words[i]
	}
	switch words[0] {
	case "go":
		s.steps()
	case "after":
		s.now = s.now.Add(must(time.ParseDuration(arg(1))))
	case "exit":
		s.exit(arg(1), must(strconv.Atoi(arg(2))))
	case "fail":
		s.fails[Verb(arg(1))] = strings.Join(words[2:], " ")
	case "probe":
		s.have.probed(s.now, arg(1), ProbeKind(arg(2)), arg(3) == "ok", grace(s.pod))
	case "gate":
		s.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodConditionType(arg(1)), Status: corev1.ConditionStatus(arg(2))}}
	case "delete":
		seconds := must(strconv.ParseInt(arg(1), 10, 64))
		s.pod.DeletionTimestamp, s.pod.DeletionGracePeriodSeconds = &metav1.Time{Time: s.now}, &seconds
	case "image":
		find(s.pod, arg(1)).Image = arg(2)
	case "restart", "reboot":
		s.restart(words[0] == "reboot")
	case "conditions":
		s.conditions()
	case "containers":
		s.containers()
	default:
		s.t.Fatalf("nobody knows how to %q", words)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *stage) steps() {
	for range 100 {
		s.have.settle(s.pod)
		s.have.Reported = Status(s.now, s.pod, s.have)
		a := Step(s.now, s.pod, s.have)
		s.sayAction(a)
		if a.Verb == Wait || a.Verb == Finish {
			s.sayStatus()
			return
		}
		s.apply(a)
	}
	s.t.Fatal("it never comes to rest")
}

func (s *stage) sayAction(a Action) {
	words := []string{string(a.Verb)}
	words = append(words, a.Containers...)
	if !a.Until.IsZero() {
		words = append(words, a.Until.Sub(s.now).String())
	}
	if !a.Deadline.IsZero() {
		words = append(words, "within", a.Deadline.Sub(s.now).String())
	}
	s.say("%s: %s", strings.Join(words, " "), a.Why)
}

func (s *stage) sayStatus() {
	status := Status(s.now, s.pod, s.have)
	words := []string{"=", string(status.Phase)}
	if status.Reason != "" {
		words = append(words, status.Reason)
	}
	for _, c := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
		words = append(words, c.Name+":"+describe(c))
	}
	s.say("%s", strings.Join(words, " "))
}

func describe(c corev1.ContainerStatus) string {
	var text string
	switch {
	case c.State.Running != nil && c.Ready:
		text = "ready"
	case c.State.Running != nil && *c.Started:
		text = "started"
	case c.State.Running != nil:
		text = "running"
	case c.State.Terminated != nil:
		text = fmt.Sprintf("%s(%d)", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
	default:
		text = c.State.Waiting.Reason
	}
	if c.RestartCount > 0 {
		text += fmt.Sprintf("/%d", c.RestartCount)
	}
	return text
}

// apply does what a worker would have done.
func (s *stage) apply(a Action) {
	name := a.Container()
	if text, ok := s.fails[a.Verb]; ok {
		delete(s.fails, a.Verb)
		s.fail(a.Verb, name, errors.New(text))
		return
	}
	switch a.Verb {
	case Prepare:
		s.have.prepared(nil)
	case Attach:
		s.have.attached("10.42.0.5")
	case Refresh:
		s.have.Stale = false
	case Pull:
		s.have.pulled(name, runtime.Image{Ref: imageOf(s.pod, name), Digest: "sha256:abc"})
	case Start:
		c := s.have.Containers[name]
		s.have.started(s.now, name, c.next(), "fake", *c.Image)
		s.have.observed("fake", runtime.Status{ID: s.id(name), State: runtime.Running, Started: s.now, ContainerID: "fake://" + name})
	case BackOff:
		s.have.backedOff(s.pod, name)
	case Stop:
		for _, name := range a.Containers {
			s.exit(name, 143)
		}
	case End:
		s.have.ended(s.now, a)
	case Teardown:
		s.have.torn()
	default:
		s.t.Fatalf("unknown verb %q", a.Verb)
	}
}

func (s *stage) fail(verb Verb, name string, err error) {
	switch verb {
	case Prepare, Attach, Teardown:
		s.have.setupFailed(s.now, "FailedMount", err)
	case Pull:
		if err.Error() == "never" {
			err = ErrImageNeverPull
		}
		s.have.pullFailed(s.now, name, err)
	case Start:
		reason, text, _ := strings.Cut(err.Error(), " ")
		s.have.startFailed(s.now, name, reason, errors.New(text))
	default:
		s.t.Fatalf("%q cannot fail", verb)
	}
}

func (s *stage) id(name string) runtime.ID {
	return runtime.ID{Pod: "u1", Container: name, Attempt: s.have.Containers[name].Attempt}
}

func (s *stage) exit(name string, code int) {
	reason := "Error"
	if code == 0 {
		reason = "Completed"
	}
	s.have.observed("fake", runtime.Status{
		ID: s.id(name), State: runtime.Exited, Started: s.have.Containers[name].Run.Started, Finished: s.now, ExitCode: code, Reason: reason,
	})
}

func (s *stage) restart(lost bool) {
	s.have.settle(s.pod)
	s.pod.Status = Status(s.now, s.pod, s.have)
	s.have = recall(s.now, s.pod, "192.0.2.1")
	for name := range s.have.Containers {
		if lost {
			s.have.lost(s.now, s.id(name))
		}
	}
}

func (s *stage) conditions() {
	s.have.settle(s.pod)
	for _, c := range Status(s.now, s.pod, s.have).Conditions {
		s.say("%s", strings.Join(strings.Fields(fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message)), " "))
	}
}

func (s *stage) containers() {
	status := Status(s.now, s.pod, s.have)
	for _, c := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
		text := describe(c)
		if w := c.State.Waiting; w != nil && w.Message != "" {
			text += ": " + w.Message
		}
		if last := c.LastTerminationState.Terminated; last != nil {
			text += fmt.Sprintf(", last %s(%d)", last.Reason, last.ExitCode)
		}
		s.say("%s %s", c.Name, text)
	}
}
