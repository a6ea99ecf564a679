package resource

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func podFrom(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return pod
}

// Rows show name, ready, status and restarts; it is midnight before the first of January 2000.
func TestPodRow(t *testing.T) {
	const (
		oneOf  = "spec: {containers: [{name: a}]}\n"
		twoOf  = "spec: {containers: [{name: a}, {name: b}]}\n"
		inits  = "spec: {containers: [{name: a}], initContainers: [{name: i}, {name: s, restartPolicy: Always}]}\n"
		up     = "ready: true, started: true, state: {running: {}}"
		failed = "lastState: {terminated: {exitCode: 1, finishedAt: '1999-12-31T23:55:00Z'}}"
	)
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct{ name, pod, want string }{
			{"pending", oneOf + "status: {phase: Pending}", "0/1 Pending 0"},
			{"reason of the pod", oneOf + "status: {phase: Failed, reason: Evicted}", "0/1 Evicted 0"},
			{"waiting", oneOf + "status: {phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ErrImagePull}}}]}", "0/1 ErrImagePull 0"},
			{"running", oneOf + "status: {phase: Running, containerStatuses: [{name: a, " + up + "}]}", "1/1 Running 0"},
			{"restarted", oneOf + "status: {phase: Running, containerStatuses: [{name: a, restartCount: 3, " + up + ", " + failed + "}]}", "1/1 Running 3 (5m ago)"},
			{"crashing", oneOf + "status: {phase: Running, containerStatuses: [{name: a, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}}}]}", "0/1 CrashLoopBackOff 1"},
			{"completed", oneOf + "status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {exitCode: 0, reason: Completed}}}]}", "0/1 Completed 0"},
			{"exit code", oneOf + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 7}}}]}", "0/1 ExitCode:7 0"},
			{"signal", oneOf + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 137, signal: 9}}}]}", "0/1 Signal:9 0"},
			{"one completed, one ready", twoOf + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, " + up + "}]}", "1/2 Running 0"},
			{"one completed, pod not ready", twoOf + "status: {phase: Running, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, " + up + "}]}", "1/2 NotReady 0"},
			{"one completed, one failed", twoOf + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, state: {terminated: {exitCode: 1, reason: Error}}}]}", "0/2 Error 0"},
			{"initializing", inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {running: {}}}, {name: s}]}", "0/2 Init:0/2 0"},
			{"init failed", inits + "status: {phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {terminated: {exitCode: 3}}}]}", "0/2 Init:ExitCode:3 2"},
			{"init waits", inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {waiting: {reason: ImagePullBackOff}}}]}", "0/2 Init:ImagePullBackOff 0"},
			{"sidecar counts", inits + "status: {phase: Running, initContainerStatuses: [{name: i, restartCount: 5, state: {terminated: {exitCode: 0}}}, {name: s, restartCount: 1, " + up + "}], containerStatuses: [{name: a, restartCount: 1, " + up + "}]}", "2/2 Running 2"},
			{"being deleted", "metadata: {deletionTimestamp: '2000-01-01T00:00:30Z'}\n" + oneOf + "status: {phase: Running, containerStatuses: [{name: a, " + up + "}]}", "1/1 Terminating 0"},
			{"finished and being deleted", "metadata: {deletionTimestamp: '2000-01-01T00:00:30Z'}\n" + oneOf + "status: {phase: Succeeded}", "0/1 Succeeded 0"},
			{"node lost", "metadata: {deletionTimestamp: '2000-01-01T00:00:30Z'}\n" + oneOf + "status: {phase: Running, reason: NodeLost}", "0/1 Unknown 0"},
		} {
			cells := podRow(podFrom(t, test.pod))
			if got := strings.TrimSpace(fmt.Sprintln(cells[1:4]...)); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		}
	})
}

func TestPodRowWide(t *testing.T) {
	pod := podFrom(t, `
metadata: {name: a}
spec: {nodeName: n1, containers: [{name: a}], readinessGates: [{conditionType: x}, {conditionType: y}]}
status: {nominatedNodeName: n2, podIPs: [{ip: 10.42.0.1}], conditions: [{type: x, status: "True"}, {type: y, status: "False"}]}`)
	if got := fmt.Sprint(podRow(pod)[5:]...); got != fmt.Sprint("10.42.0.1", "n1", "n2", "1/2") {
		t.Errorf("%s", got)
	}
}

func TestPodGrace(t *testing.T) {
	seconds := func(n int64) *int64 { return &n }
	for _, test := range []struct {
		name, pod string
		asked     *int64
		want      int64
	}{
		{"its own", "spec: {nodeName: n, terminationGracePeriodSeconds: 7, containers: []}", nil, 7},
		{"asked for", "spec: {nodeName: n, terminationGracePeriodSeconds: 7, containers: []}", seconds(3), 3},
		{"at once", "spec: {nodeName: n, terminationGracePeriodSeconds: 7, containers: []}", seconds(0), 0},
		{"negative", "spec: {nodeName: n, containers: []}", seconds(-5), 1},
		{"without a node", "spec: {terminationGracePeriodSeconds: 7, containers: []}", nil, 0},
		{"without a node, asked for", "spec: {containers: []}", seconds(9), 0},
		{"succeeded", "spec: {nodeName: n, terminationGracePeriodSeconds: 7, containers: []}\nstatus: {phase: Succeeded}", nil, 0},
		{"failed", "spec: {nodeName: n, terminationGracePeriodSeconds: 7, containers: []}\nstatus: {phase: Failed}", nil, 0},
	} {
		if got := pods().Grace(podFrom(t, test.pod), test.asked); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func BenchmarkCreatePod(b *testing.B) {
	r := New()
	k, _ := r.For(&corev1.Pod{})
	pod := &corev1.Pod{}
	text := `{metadata: {name: a, namespace: default, uid: u, creationTimestamp: "2026-01-01T00:00:00Z"}, spec: {containers: [{name: a, image: "hello:v1", ports: [{containerPort: 80}]}]}}`
	if err := yaml.Unmarshal([]byte(text), pod); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p := pod.DeepCopy()
		r.Scheme().Default(p)
		k.PrepareForCreate(p)
		if errs := k.Validate(p); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
