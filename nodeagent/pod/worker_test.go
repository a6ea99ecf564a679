package pod

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/nodeagent/runtime"
)

func TestUpAndGone(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, args: ["term=3s"]}`))
		w.want(p, "Running app:ready")
		s := w.status(p)
		c := s.ContainerStatuses[0]
		if s.PodIP != "10.42.0.5" || s.HostIP != "192.0.2.1" || !s.StartTime.Time.Equal(epoch) || s.QOSClass != "BestEffort" {
			t.Errorf("status: %+v", s)
		}
		if c.ImageID != "app@sha256:abc" || !strings.HasPrefix(c.ContainerID, "fake://") || c.Image != "app:v1" {
			t.Errorf("container: %+v", c)
		}
		w.wantEvents(
			`Normal Pulling Pulling image "app:v1"`,
			`Normal Pulled Successfully pulled image "app:v1" in 0s`,
			`Normal Created Container created`,
			`Normal Started Container started`,
		)
		w.delete(p, 30)
		w.want(p, "Running app:ready")
		w.after(3 * time.Second)
		w.want(p, "Succeeded app:Completed(0)")
		w.wantEvents(`Normal Killing Stopping container app`)
		if !w.isGone(p) {
			t.Error("not gone")
		}
		want := []string{
			"prepare", "attach ", "ensure app:v1 IfNotPresent []", "in use u1 [sha256:abc]",
			"detach u1", "remove volumes", "in use u1 []",
		}
		if !slices.Equal(w.called(), want) {
			t.Errorf("calls: %q", w.called())
		}
		if _, err := os.Stat(filepath.Join(w.dir, "pods", "u1")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("logs are left: %v", err)
		}
		if p, _ := w.workers.Pod("u1"); p != nil {
			t.Error("the worker is left")
		}
	})
}

func TestGrace(t *testing.T) {
	tests := []struct {
		name   string
		args   string
		grace  int64
		sooner int64 // a second deletion after 2 seconds; negative: none
		took   time.Duration
	}{
		{"ends by itself", "term=3s", 30, -1, 3 * time.Second},
		{"has to be killed", "ignore-term", 10, -1, 10 * time.Second},
		{"no grace is two seconds", "ignore-term", 0, -1, 2 * time.Second},
		{"less grace", "ignore-term", 60, 5, 7 * time.Second},
		{"more grace is no grace", "ignore-term", 10, 60, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				p := w.update(w.pod(fmt.Sprintf(`  - {name: app, args: [%q]}`, tt.args)))
				w.delete(p, tt.grace)
				w.after(2*time.Second - 1)
				if tt.sooner >= 0 {
					w.after(1)
					w.delete(p, tt.sooner)
					w.after(tt.took - 2*time.Second - 1)
				} else {
					w.after(tt.took - 2*time.Second)
				}
				if w.isGone(p) {
					t.Fatal("too early")
				}
				if w.after(1); !w.isGone(p) {
					t.Error("too late")
				}
			})
		})
	}
}

func TestCrashLoop(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, args: ["run=1s", "exit=7", "message=oops"]}`))
		w.after(time.Second)
		w.want(p, "Running app:ready/1")
		w.after(time.Second)
		w.want(p, "Running app:CrashLoopBackOff/1")
		c := w.status(p).ContainerStatuses[0]
		if want := "back-off 10s restarting failed container=app pod=web_default(u1)"; c.State.Waiting.Message != want {
			t.Errorf("message %q", c.State.Waiting.Message)
		}
		if last := c.LastTerminationState.Terminated; last.ExitCode != 7 || last.Message != "oops" || last.Reason != "Error" {
			t.Errorf("last: %+v", last)
		}
		w.wantEvent("Warning BackOff Back-off restarting failed container app in pod web_default(u1)")
		// 0, 1, 12, 33, 74, 155, 316, 617, 918: doubled up to five minutes.
		w.after(20 * time.Minute)
		var starts int
		for _, call := range w.machine.Calls() {
			if strings.HasPrefix(call, "start") {
				starts++
			}
		}
		if starts != 9 {
			t.Errorf("%d starts in twenty minutes", starts)
		}
	})
}

func TestLogsOfTwoRunsAreKept(t *testing.T) {
	inWorld(t, func(w *world) {
		w.update(w.pod(`  - {name: app, args: ["run=1s", "exit=1", "log=hello"]}`))
		w.after(5 * time.Minute)
		entries, err := os.ReadDir(filepath.Join(w.dir, "pods/u1/logs/app"))
		if err != nil || len(entries) != 2 {
			t.Errorf("logs: %v, %v", entries, err)
		}
	})
}

func TestPullBackOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pulling(func(context.Context, string) error { return errors.New("manifest unknown") })
		p := w.update(w.pod(`  - {name: app, imagePullPolicy: Always}`))
		w.want(p, "Pending app:ErrImagePull")
		w.wantEvents(
			`Normal Pulling Pulling image "app:v1"`,
			`Warning Failed Failed to pull image "app:v1": manifest unknown`,
			`Warning Failed Error: ErrImagePull`,
		)
		w.after(5 * time.Second)
		w.want(p, "Pending app:ImagePullBackOff")
		w.wantEvents(`Normal BackOff Back-off pulling image "app:v1"`)
		w.after(5*time.Second - 1)
		w.pulling(nil)
		w.after(1)
		w.want(p, "Running app:ready")
	})
}

func TestNeverPull(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pulling(func(context.Context, string) error { return ErrImageNeverPull })
		p := w.update(w.pod(`  - {name: app, imagePullPolicy: Never}`))
		w.want(p, "Pending app:ErrImageNeverPull")
		w.wantEvents(
			`Warning ErrImageNeverPull Container image "app:v1" is not present with pull policy of Never`,
			`Warning Failed Error: ErrImageNeverPull`,
		)
	})
}

func TestDeletionInterruptsPull(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pulling(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		p := w.update(w.pod(`  - {name: app}`))
		w.want(p, "Pending app:ContainerCreating")
		w.delete(p, 30)
		if !w.isGone(p) {
			t.Error("the pull goes on")
		}
		w.wantEvents(`Normal Pulling Pulling image "app:v1"`)
	})
}

func TestPullSecrets(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("Secret", "new", &corev1.Secret{Data: map[string][]byte{".dockerconfigjson": []byte(`{"auths":{}}`)}})
		w.put("Secret", "old", &corev1.Secret{Data: map[string][]byte{".dockercfg": []byte(`{"r":{}}`)}})
		p := w.pod(`  - {name: app}`)
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "new"}, {Name: "none"}, {Name: "old"}}
		w.update(p)
		if want := `ensure app:v1 IfNotPresent [{"auths":{}} {"auths":{"r":{}}}]`; !slices.Contains(w.called(), want) {
			t.Errorf("calls: %q", w.called())
		}
	})
}

func TestConfigAppears(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: a}}}]}`))
		w.want(p, "Pending app:CreateContainerConfigError")
		w.wantEvent(`Warning Failed Error: configmap "c" not found`)
		w.put("ConfigMap", "c", &corev1.ConfigMap{Data: map[string]string{"b": "1"}})
		w.wantEvent(`Warning Failed Error: couldn't find key a in ConfigMap default/c`)
		w.put("ConfigMap", "c", &corev1.ConfigMap{Data: map[string]string{"a": "1"}})
		w.want(p, "Running app:ready")
	})
}

func TestMountAppears(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.pod(`  - {name: app}`)
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}}
		w.update(p)
		w.want(p, "Pending app:ContainerCreating")
		w.wantEvents(`Warning FailedMount MountVolume.SetUp failed for volume "v" : secret "s" not found`)
		w.put("Secret", "s", &corev1.Secret{})
		w.want(p, "Running app:ready")
		w.put("Secret", "s", &corev1.Secret{})
		if !slices.Contains(w.called(), "refresh") {
			t.Errorf("volumes are not brought up to date: %q", w.called())
		}
	})
}

func TestStartErrors(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: bad, args: ["invalid=this is a component"]}`))
		w.want(p, "Pending bad:CreateContainerError")
		w.wantEvent(`Warning Failed Error: runtime: cannot run: this is a component`)
		class := "runsc"
		q := w.pod(`  - {name: app}`)
		q.Name, q.UID, q.Spec.RuntimeClassName = "other", "u2", &class
		w.update(q)
		w.want(q, "Pending app:CreateContainerError")
		w.wantEvent(`Warning Failed Error: runtime: cannot run: this node has no runtime class "runsc", only fake`)
	})
}

func TestSpec(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("ConfigMap", "c", &corev1.ConfigMap{Data: map[string]string{"KEY": "config"}})
		w.put("Secret", "s", &corev1.Secret{Data: map[string][]byte{"key": []byte("secret")}})
		w.put("Service", "web", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.43.0.9", Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: "TCP"}}},
		})
		p := w.pod(`
  - name: app
    command: ["$(KEY)"]
    args: ["$(TWO)", "$$(TWO)", "$(NONE)"]
    workingDir: /srv
    envFrom: [{configMapRef: {name: c}}, {configMapRef: {name: none, optional: true}}, {prefix: S_, secretRef: {name: s}}]
    env:
    - {name: ONE, value: "1"}
    - {name: TWO, value: "$(ONE)+$(WEB_SERVICE_PORT)"}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: NOTHING, valueFrom: {secretKeyRef: {name: s, key: none, optional: true}}}
    ports: [{name: http, containerPort: 8080}]
    terminationMessagePath: /tmp/last
    volumeMounts: [{name: v, mountPath: /v, readOnly: true, subPath: sub/folder}]`)
		p.Spec.Volumes = []corev1.Volume{{Name: "v"}}
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"memory": quantity.MustParse("64Mi"), "cpu": quantity.MustParse("250m")}
		w.update(p)
		w.want(p, "Running app:ready")
		s, _ := w.machine.Spec(runtime.ID{Pod: "u1", Container: "app"})
		wantEnv := []string{
			"FROM=image", "HOSTNAME=web", "IP=10.42.0.5", "KEY=config", "MEMORY=64", "ONE=1", "S_key=secret", "TWO=1+80",
			"WEB_PORT=tcp://10.43.0.9:80", "WEB_PORT_80_TCP=tcp://10.43.0.9:80", "WEB_PORT_80_TCP_ADDR=10.43.0.9",
			"WEB_PORT_80_TCP_PORT=80", "WEB_PORT_80_TCP_PROTO=tcp", "WEB_SERVICE_HOST=10.43.0.9", "WEB_SERVICE_PORT=80",
			"WEB_SERVICE_PORT_HTTP=80",
		}
		if !slices.Equal(s.Env, wantEnv) {
			t.Errorf("env: %q", s.Env)
		}
		if !slices.Equal(s.Command, []string{"config"}) || !slices.Equal(s.Args, []string{"1+80", "$(TWO)", "$(NONE)"}) {
			t.Errorf("command %q, args %q", s.Command, s.Args)
		}
		wantMounts := []runtime.Mount{
			{Host: filepath.Join(w.dir, "sub", "folder"), Guest: "/v", ReadOnly: true},
			{Host: s.TerminationMessagePath, Guest: "/tmp/last"},
		}
		if !slices.Equal(s.Mounts, wantMounts) {
			t.Errorf("mounts: %+v", s.Mounts)
		}
		if s.MemoryBytes != 64<<20 || s.CPUMillis != 250 || s.Dir != "/srv" || s.PodIP != "10.42.0.5" || s.Hostname != "web" {
			t.Errorf("spec: %+v", s)
		}
		if !slices.Equal(s.Ports, []runtime.Port{{Name: "http", Protocol: "TCP", Port: 8080}}) {
			t.Errorf("ports: %+v", s.Ports)
		}
	})
}

func TestSubPathStaysInVolume(t *testing.T) {
	volume := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(volume, "out")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	for _, sub := range []string{"../x", "/etc", "out", "out/x", "a/../../x"} {
		if got, err := subPath(volume, sub); err == nil {
			t.Errorf("%q became %q", sub, got)
		}
	}
}

// answer serves one HTTP request with what status says.
func answer(status func(path string) int) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return // a TCP probe
		}
		(&http.Response{StatusCode: status(r.URL.Path), ProtoMajor: 1, ProtoMinor: 1, Request: r}).Write(c)
	}
}

func TestProbes(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`
  - name: app
    startupProbe: {tcpSocket: {port: 80}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {httpGet: {path: /ready, port: web}, periodSeconds: 5, failureThreshold: 2}
    livenessProbe: {httpGet: {path: /alive, port: 80}, periodSeconds: 10, failureThreshold: 3, terminationGracePeriodSeconds: 1}
    ports: [{name: web, containerPort: 80}]`))
		w.want(p, "Running app:running")
		w.wantEvent("Warning Unhealthy Startup probe failed: dial tcp: connection refused")
		var ready, alive atomic.Int32
		ready.Store(503)
		alive.Store(200)
		w.serve("10.42.0.5:80", answer(func(path string) int {
			if path == "/ready" {
				return int(ready.Load())
			}
			return int(alive.Load())
		}))
		w.after(time.Second)
		w.want(p, "Running app:started")
		w.wantEvent("Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 503")
		ready.Store(204)
		w.after(5 * time.Second)
		w.want(p, "Running app:ready")
		ready.Store(500)
		w.after(5 * time.Second)
		w.want(p, "Running app:ready")
		w.after(5 * time.Second)
		w.want(p, "Running app:started")
		w.wantEvents(
			"Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500",
			"Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500",
		)
		alive.Store(500)
		w.after(31 * time.Second)
		w.want(p, "Running app:started/1")
		w.wantEvent("Normal Killing Container app failed liveness probe, will be restarted")
	})
}

func TestHooks(t *testing.T) {
	inWorld(t, func(w *world) {
		var paths []string
		w.serve("10.42.0.5:80", answer(func(path string) int { paths = append(paths, path); return 500 }))
		p := w.update(w.pod(`
  - name: app
    lifecycle:
      postStart: {httpGet: {path: /started, port: 80}}
      preStop: {sleep: {seconds: 4}}`))
		w.want(p, "Running app:ready")
		if !slices.Equal(paths, []string{"/started"}) {
			t.Errorf("asked for %q", paths)
		}
		w.delete(p, 30)
		w.after(4*time.Second - 1)
		if w.isGone(p) {
			t.Error("the preStop hook was not waited for")
		}
		if w.after(1); !w.isGone(p) {
			t.Error("not gone")
		}
	})
}

func TestExecProbes(t *testing.T) {
	for name, test := range map[string]struct{ command, want, event string }{
		"well":      {`[exit, "$(CODE)"]`, "Running app:ready", "Normal Started Container started"},
		"ill":       {`[exit, "3"]`, "Running app:started", "Warning Unhealthy Readiness probe failed: "},
		"too slow":  {`[sleep]`, "Running app:started", `Warning Unhealthy Readiness probe failed: command timed out: "sleep" timed out after 2s`},
		"not known": {`[dance]`, "Running app:started", "Warning Unhealthy Readiness probe errored and resulted in unknown state: the command could not be run: dance: not found"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				p := w.update(w.pod(`
  - name: app
    env: [{name: CODE, value: "0"}]
    readinessProbe: {exec: {command: ` + test.command + `}, timeoutSeconds: 2}`))
				w.after(9 * time.Second)
				w.want(p, test.want)
				w.wantEvent(test.event)
			})
		})
	}
}

func TestExecHooks(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`
  - name: app
    lifecycle:
      postStart: {exec: {command: [echo, started]}}
      preStop: {exec: {command: [sleep]}}`))
		w.want(p, "Running app:ready")
		w.delete(p, 5)
		w.after(5*time.Second - 1)
		if w.isGone(p) {
			t.Error("the preStop hook was not waited for")
		}
		w.after(3 * time.Second)
		w.wantEvent("Warning FailedPreStopHook PreStopHook failed")
		if !w.isGone(p) {
			t.Error("not gone")
		}
	})
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, lifecycle: {postStart: {exec: {command: [exit, "1"]}}}}`))
		w.want(p, "Running app:CrashLoopBackOff/1")
		w.wantEvent("Warning FailedPostStartHook PostStartHook failed")
	})
}

func TestPostStartFails(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, lifecycle: {postStart: {httpGet: {port: 80}}}}`))
		w.want(p, "Running app:CrashLoopBackOff/1")
		w.wantEvent("Warning FailedPostStartHook PostStartHook failed")
	})
}

func TestTerminationMessageFromLog(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.pod(`  - {name: app, args: ["run=1s", "exit=1", "log=last words"], terminationMessagePolicy: FallbackToLogsOnError}`)
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.update(p)
		w.after(time.Second)
		w.want(p, "Failed app:Error(1)")
		if got := w.status(p).ContainerStatuses[0].State.Terminated.Message; got != "last words\n" {
			t.Errorf("message %q", got)
		}
	})
}

func TestRestartFindsContainers(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, args: ["run=100s"]}`))
		before := w.status(p)
		w.after(time.Second)
		w.restart(p)
		w.want(p, "Running app:ready")
		if after := w.status(p); after.ContainerStatuses[0].ContainerID != before.ContainerStatuses[0].ContainerID {
			t.Error("another container")
		}
		if !slices.Contains(w.called(), "attach 10.42.0.5") {
			t.Errorf("the address was not asked for again: %q", w.called())
		}
		w.after(99 * time.Second)
		w.want(p, "Running app:ready/1")
	})
}

func TestRestartWithoutContainers(t *testing.T) {
	inWorld(t, func(w *world) {
		w.machine.Attached = true
		p := w.update(w.pod(`  - {name: app}`))
		w.restart(p)
		w.want(p, "Running app:ready/1")
		if last := w.status(p).ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "ContainerStatusUnknown" {
			t.Errorf("last: %+v", last)
		}
	})
}

// A control plane that was restored from a snapshot tells of pods that ran here and have gone since.
func TestPodsThatRanBeforeTheyWereTold(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app}`))
		p = p.DeepCopy()
		p.Status = *w.status(p)
		w.restart() // nothing is known of it
		w.update(p)
		w.want(p, "Running app:ready/1")
		if last := w.status(p).ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "ContainerStatusUnknown" {
			t.Errorf("last: %+v", last)
		}
	})
}

func TestOrphansAreRemoved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.update(w.pod(`  - {name: app}`))
		w.restart() // the journal knows nothing of it
		if _, ok := w.machine.Spec(runtime.ID{Pod: "u1", Container: "app"}); ok {
			t.Error("it still runs")
		}
		if _, err := os.Stat(filepath.Join(w.dir, "pods", "u1")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its folder: %v", err)
		}
	})
}

func TestRemove(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app, args: [ignore-term]}`))
		w.workers.Remove("u1")
		w.after(30 * time.Second)
		if !w.isGone(p) {
			t.Error("not gone")
		}
		w.workers.Remove("u1")
	})
}

func TestLateUpdateOfAGonePod(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.update(w.pod(`  - {name: app}`))
		w.delete(p, 30)
		calls := len(w.called())
		w.delete(p, 30) // the final status has come back
		if got := w.called(); len(got) != calls {
			t.Errorf("it is done again: %q", got[calls:])
		}
		w.workers.Remove("u1")
		w.after(time.Second)
		if w.update(p); w.isGone(p) {
			t.Error("it is remembered for ever")
		}
	})
}

func TestDeletedPodThatIsUnknownIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.pod(`  - {name: app}`)
		w.delete(p, 30)
		if !w.isGone(p) {
			t.Error("not gone")
		}
	})
}

func TestEveryRefusalHasItsWords(t *testing.T) {
	yes := true
	shapes := map[string]func(*corev1.Pod){
		"spec.hostIPC":               func(p *corev1.Pod) { p.Spec.HostIPC = true },
		"spec.shareProcessNamespace": func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = &yes },
		"spec.dnsPolicy":             func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault },
		"container app: tty":         func(p *corev1.Pod) { p.Spec.Containers[0].TTY = true },
		"container app: securityContext.privileged": func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		},
	}
	for want, shape := range shapes {
		inWorld(t, func(w *world) {
			p := w.pod(`  - {name: app}`)
			shape(p)
			w.update(p)
			w.want(p, "Pending app:CreateContainerConfigError")
			if got := w.status(p).ContainerStatuses[0].State.Waiting.Message; !strings.HasPrefix(got, want+" is not supported by this node: ") {
				t.Errorf("%s: %q", want, got)
			}
			if len(w.machine.Calls()) != 0 {
				t.Errorf("%s: started", want)
			}
		})
	}
}

func TestManyPods(t *testing.T) {
	inWorld(t, func(w *world) {
		const n = 100
		pods := make([]*corev1.Pod, n)
		for i := range pods {
			pods[i] = w.pod(`  - {name: app}`)
			pods[i].Name = fmt.Sprintf("web-%d", i)
			pods[i].UID = types.UID(pods[i].Name)
			w.workers.Update(pods[i])
		}
		synctest.Wait()
		for _, p := range pods {
			w.want(p, "Running app:ready")
		}
	})
}
