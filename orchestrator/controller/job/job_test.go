package job_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/job"
	"wherry/orchestrator/state"
)

// cluster has a kubelet for pods that end: ten seconds after their start they exit with the code that the
// image names, or with that of their index if the image is a list, as in "0,1,0". "never" does not end.
func cluster(s *state.State, e controller.Events) []controller.Controller {
	return []controller.Controller{job.New(s, e), {
		Name: "kubelet", Sources: []controller.Source{controller.On(controller.Self[*corev1.Pod])},
		Reconcile: func(ctx context.Context, key controller.Key) (time.Duration, error) { return live(ctx, s, key) },
	}}
}

const life = 10 * time.Second

func live(ctx context.Context, s *state.State, key controller.Key) (time.Duration, error) {
	p, ok := state.Get[*corev1.Pod](s, key.Namespace, key.Name)
	switch {
	case !ok:
		return 0, nil
	case p.DeletionTimestamp != nil:
		now := int64(0)
		return 0, state.Delete[*corev1.Pod](ctx, s, p.Namespace, p.Name, state.DeleteOptions{Grace: &now})
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return 0, nil
	}
	left := life - time.Since(p.CreationTimestamp.Time)
	if p.Spec.Containers[0].Image == "never" {
		left = time.Hour
	}
	_, err := state.UpdateStatus(ctx, s, p.Namespace, p.Name, func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodRunning
		if left <= 0 {
			end(p)
		}
		return nil
	})
	return max(left, 0), err
}

func end(p *corev1.Pod) {
	codes := strings.Split(p.Spec.Containers[0].Image, ",")
	code := codes[0]
	if i := p.Annotations[batchv1.JobCompletionIndexAnnotation]; len(codes) > 1 {
		code = codes[int(i[0]-'0')]
	}
	p.Status.Phase = corev1.PodSucceeded
	var exit int32
	if code != "0" {
		p.Status.Phase = corev1.PodFailed
		fmt.Sscan(code, &exit) //nolint:errcheck // the tests write numbers
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exit, FinishedAt: metav1.NewTime(time.Now().Truncate(time.Second)),
	}}}}
}

// work is a Job with an image and more lines of its spec.
func work(c *controllertest.Cluster, image string, spec ...string) {
	c.T.Helper()
	controllertest.Apply(c, fmt.Sprintf(`
metadata: {namespace: default, name: work}
spec:
  %s
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: "%s"}]}}
`, strings.Join(spec, "\n  "), image), &batchv1.Job{})
}

// show is the numbers of the Job and its conditions that are true.
func show(c *controllertest.Cluster) string {
	j, ok := state.Get[*batchv1.Job](c.State, "default", "work")
	if !ok {
		return "gone"
	}
	s := j.Status
	out := fmt.Sprintf("active %d, succeeded %d, failed %d", s.Active, s.Succeeded, s.Failed)
	if s.CompletedIndexes != "" {
		out += ", completed " + s.CompletedIndexes
	}
	if s.FailedIndexes != nil && *s.FailedIndexes != "" {
		out += ", failed indexes " + *s.FailedIndexes
	}
	conditions := map[string]bool{}
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue {
			conditions[string(c.Type)+"="+c.Reason] = true
		}
	}
	for _, p := range state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"}) {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if ended && slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
			out += ", " + p.Name + " was not counted"
		}
	}
	return strings.Join(append([]string{out}, slices.Sorted(maps.Keys(conditions))...), " ")
}

func expect(c *controllertest.Cluster, when, want string) {
	c.T.Helper()
	if got := show(c); got != want {
		c.T.Errorf("%s:\ngot  %s\nwant %s", when, got, want)
	}
}

func TestEnds(t *testing.T) {
	for _, test := range []struct {
		name, image string
		spec        []string
		after       time.Duration
		want        string
	}{
		{"one pod", "0", nil, time.Minute,
			"active 0, succeeded 1, failed 0 Complete=CompletionsReached SuccessCriteriaMet=CompletionsReached"},
		{"several, two at a time, half-way", "0", []string{"completions: 5", "parallelism: 2"}, 15 * time.Second, "active 2, succeeded 2, failed 0"},
		{"several, two at a time", "0", []string{"completions: 5", "parallelism: 2"}, time.Minute,
			"active 0, succeeded 5, failed 0 Complete=CompletionsReached SuccessCriteriaMet=CompletionsReached"},
		{"a queue of work: all end, one is enough", "0", []string{"parallelism: 3", "completions: null"}, time.Minute,
			"active 0, succeeded 3, failed 0 Complete=CompletionsReached SuccessCriteriaMet=CompletionsReached"},
		{"failures, waiting", "1", []string{"backoffLimit: 3"}, 25 * time.Second, "active 1, succeeded 0, failed 1"},
		{"failures, over the limit", "1", []string{"backoffLimit: 3"}, 10 * time.Minute,
			"active 0, succeeded 0, failed 4 Failed=BackoffLimitExceeded FailureTarget=BackoffLimitExceeded"},
		{"too long", "never", []string{"activeDeadlineSeconds: 30", "parallelism: 2"}, time.Minute,
			"active 0, succeeded 0, failed 2 Failed=DeadlineExceeded FailureTarget=DeadlineExceeded"},
		{"indexed", "0", []string{"completionMode: Indexed", "completions: 4", "parallelism: 4"}, time.Minute,
			"active 0, succeeded 4, failed 0, completed 0-3 Complete=CompletionsReached SuccessCriteriaMet=CompletionsReached"},
		{"indexed, one fails", "0,1,0", []string{"completionMode: Indexed", "completions: 3", "parallelism: 3", "backoffLimit: 1"}, 10 * time.Minute,
			"active 0, succeeded 2, failed 2, completed 0,2 Failed=BackoffLimitExceeded FailureTarget=BackoffLimitExceeded"},
		{"a limit for each index", "0,1,0", []string{"completionMode: Indexed", "completions: 3", "parallelism: 2", "backoffLimitPerIndex: 1"}, 10 * time.Minute,
			"active 0, succeeded 2, failed 2, completed 0,2, failed indexes 1 Failed=FailedIndexes FailureTarget=FailedIndexes"},
		{"too many indexes fail", "1,1,0,0", []string{"completionMode: Indexed", "completions: 4", "parallelism: 1", "backoffLimitPerIndex: 0", "maxFailedIndexes: 1"}, time.Minute,
			"active 0, succeeded 0, failed 2, failed indexes 0,1 Failed=MaxFailedIndexesExceeded FailureTarget=MaxFailedIndexesExceeded"},
		{"a code that ends the Job", "42", []string{"backoffLimit: 6", "podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}"}, time.Minute,
			"active 0, succeeded 0, failed 1 Failed=PodFailurePolicy FailureTarget=PodFailurePolicy"},
		{"a code that does not count", "7", []string{"backoffLimit: 0", "podFailurePolicy: {rules: [{action: Ignore, onExitCodes: {operator: In, values: [7]}}]}"}, 25 * time.Second,
			"active 1, succeeded 0, failed 0"},
		{"a code that ends the index", "0,9", []string{"completionMode: Indexed", "completions: 2", "parallelism: 2", "backoffLimitPerIndex: 5",
			"podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: NotIn, values: [0, 1]}}]}"}, time.Minute,
			"active 0, succeeded 1, failed 1, completed 0, failed indexes 1 Failed=FailedIndexes FailureTarget=FailedIndexes"},
		{"a leader is enough", "0,1,1", []string{"completionMode: Indexed", "completions: 3", "parallelism: 3", "backoffLimit: 6", `successPolicy: {rules: [{succeededIndexes: "0"}]}`}, time.Minute,
			"active 0, succeeded 1, failed 2, completed 0 Complete=SuccessPolicy SuccessCriteriaMet=SuccessPolicy"},
		{"its time is over", "0", []string{"ttlSecondsAfterFinished: 60"}, 3 * time.Minute, "gone"},
		{"somebody else's", "0", []string{"managedBy: example.com/other"}, time.Minute, "active 0, succeeded 0, failed 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
				work(c, test.image, test.spec...)
				c.Settle(test.after)
				if want := test.want; want == "gone" {
					j, ok := state.Get[*batchv1.Job](c.State, "default", "work")
					if ok && j.DeletionTimestamp == nil { // there is no garbage collector in this cluster
						t.Errorf("it is still there: %+v", j.Status)
					}
				} else {
					expect(c, "in the end", want)
				}
			})
		})
	}
}

func TestSuspendAndResize(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		yes, no := true, false
		work(c, "never", "parallelism: 3", "completions: 3", "backoffLimit: 0")
		c.Settle(5 * time.Second)
		expect(c, "at first", "active 3, succeeded 0, failed 0")
		two := int32(2)
		controllertest.Change(c, "work", func(j *batchv1.Job) { j.Spec.Parallelism = &two })
		c.Settle(5 * time.Second)
		expect(c, "fewer at once: that is no failure", "active 2, succeeded 0, failed 0")
		controllertest.Change(c, "work", func(j *batchv1.Job) { j.Spec.Suspend = &yes })
		c.Settle(5 * time.Second)
		expect(c, "suspended: that is none either", "active 0, succeeded 0, failed 0 Suspended=JobSuspended")
		j, _ := state.Get[*batchv1.Job](c.State, "default", "work")
		if j.Status.StartTime != nil {
			t.Error("it has a start time though it is suspended")
		}
		controllertest.Change(c, "work", func(j *batchv1.Job) { j.Spec.Suspend = &no })
		c.Settle(5 * time.Second)
		expect(c, "resumed", "active 2, succeeded 0, failed 0")
		want := []string{"work Suspended Job suspended", "work Resumed Job resumed"}
		got := slices.DeleteFunc(c.Told(), func(e string) bool { return !strings.Contains(e, "Job ") })
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

// A pod of an index knows it: in its name, its labels, its environment.
func TestPodsOfIndexes(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		work(c, "never", "completionMode: Indexed", "completions: 2", "parallelism: 2")
		c.Settle(time.Second)
		for i, p := range state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"}) {
			index := fmt.Sprint(i)
			if !strings.HasPrefix(p.Name, "work-"+index+"-") || p.Spec.Hostname != "work-"+index || p.Labels["batch.kubernetes.io/job-completion-index"] != index ||
				p.Annotations["batch.kubernetes.io/job-completion-index"] != index || p.Labels["job-name"] != "work" {
				t.Errorf("pod %d is %s, %s, %v, %v", i, p.Name, p.Spec.Hostname, p.Labels, p.Annotations)
			}
			env := p.Spec.Containers[0].Env
			if len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" || env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" {
				t.Errorf("its environment is %+v", env)
			}
		}
	})
}

// Pods that are deleted while they run are failures, counted once, and replaced.
func TestDeletedPods(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		work(c, "never", "backoffLimit: 6")
		c.Settle(time.Second)
		pod := state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"})[0]
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", pod.Name, state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Settle(time.Minute)
		expect(c, "replaced", "active 1, succeeded 0, failed 1")
		if _, there := state.Get[*corev1.Pod](c.State, "default", pod.Name); there {
			t.Error("the deleted pod is held back")
		}
	})
}

// A Job that is deleted without its pods leaves none that cannot be deleted.
func TestOrphans(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		work(c, "never")
		c.Settle(time.Second)
		if err := state.Delete[*batchv1.Job](c.T.Context(), c.State, "default", "work", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		j, ok := state.Get[*batchv1.Job](c.State, "default", "work")
		if ok { // orphaning waits for the garbage collector, which is not here
			controllertest.Change(c, "work", func(j *batchv1.Job) { j.Finalizers = nil })
		}
		_ = j
		c.Settle(time.Second)
		for _, p := range state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"}) {
			if len(p.Finalizers) > 0 {
				t.Errorf("%s has finalizers %v", p.Name, p.Finalizers)
			}
		}
	})
}
