package admission_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// open runs a state with the default rules and the namespace default.
func open(t *testing.T) *state.State {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New(), Admission: admission.Default()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"default", "going"} {
		if _, err := state.Create(ctx, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := state.Create(ctx, s, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func priorityClass(name string) *schedulingv1.PriorityClass {
	return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 5}
}

func ptr[T any](v T) *T { return &v }

func TestPodsAreCompleted(t *testing.T) {
	s := open(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bot", Namespace: "default"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "key"}}}
	if _, err := state.Create(t.Context(), s, account); err != nil {
		t.Fatal(err)
	}
	critical := priorityClass("system-node-critical")
	critical.Value = 2_000_001_000
	if _, err := state.Create(t.Context(), s, critical); err != nil {
		t.Fatal(err)
	}
	own := corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr(int64(5))}
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		check  func(corev1.PodSpec) bool
	}{
		"account":      {nil, func(s corev1.PodSpec) bool { return s.ServiceAccountName == "default" && len(s.ImagePullSecrets) == 0 }},
		"pull secrets": {func(p *corev1.Pod) { p.Spec.ServiceAccountName = "bot" }, func(s corev1.PodSpec) bool { return s.ImagePullSecrets[0].Name == "key" }},
		"older account": {func(p *corev1.Pod) { p.Spec.DeprecatedServiceAccount = "bot" },
			func(s corev1.PodSpec) bool { return s.ServiceAccountName == "bot" }},
		"own pull secrets": {func(p *corev1.Pod) {
			p.Spec.ServiceAccountName, p.Spec.ImagePullSecrets = "bot", []corev1.LocalObjectReference{{Name: "own"}}
		}, func(s corev1.PodSpec) bool {
			return len(s.ImagePullSecrets) == 1 && s.ImagePullSecrets[0].Name == "own"
		}},
		"priority": {nil, func(s corev1.PodSpec) bool {
			return *s.Priority == 0 && *s.PreemptionPolicy == corev1.PreemptLowerPriority
		}},
		"critical": {func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" },
			func(s corev1.PodSpec) bool { return *s.Priority == 2_000_001_000 }},
		"tolerations": {nil, func(s corev1.PodSpec) bool {
			return len(s.Tolerations) == 2 && *s.Tolerations[0].TolerationSeconds == 300
		}},
		"own toleration": {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{own} }, func(s corev1.PodSpec) bool {
			return len(s.Tolerations) == 2 && *s.Tolerations[0].TolerationSeconds == 5 && s.Tolerations[1].Key == corev1.TaintNodeUnreachable
		}},
		"tolerates all": {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} },
			func(s corev1.PodSpec) bool { return len(s.Tolerations) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod(test.change)
			p.Name, p.GenerateName = "", "p-"
			got, err := state.Create(t.Context(), s, p)
			if err != nil || !test.check(got.Spec) {
				t.Errorf("%+v, %v", got.Spec, err)
			}
		})
	}
}

func TestUpdatesMayOmitWhatAdmissionWrote(t *testing.T) {
	s := open(t)
	if _, err := state.Create(t.Context(), s, pod(nil)); err != nil {
		t.Fatal(err)
	}
	got, err := state.Update(t.Context(), s, "default", "p", func(p *corev1.Pod) error {
		p.Labels = map[string]string{"a": "b"}
		p.Spec.Priority, p.Spec.PreemptionPolicy, p.Spec.Tolerations = nil, nil, nil
		return nil
	})
	if err != nil || got.Spec.Priority == nil || len(got.Spec.Tolerations) != 2 {
		t.Errorf("%+v, %v", got.Spec, err)
	}
}

func TestPodsAreRefused(t *testing.T) {
	s := open(t)
	for want, change := range map[string]func(*corev1.Pod){
		`pods "p" is forbidden: no PriorityClass with name vip was found`: func(p *corev1.Pod) { p.Spec.PriorityClassName = "vip" },
		`pods "p" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name`: func(p *corev1.Pod) {
			p.Spec.Priority = ptr(int32(7))
		},
		`pods "p" is forbidden: error looking up service account default/bot: serviceaccount "bot" not found`: func(p *corev1.Pod) { p.Spec.ServiceAccountName = "bot" },
		`namespaces "none" not found`: func(p *corev1.Pod) { p.Namespace = "none" },
	} {
		if _, err := state.Create(t.Context(), s, pod(change)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestNamespacesEnd(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	if err := state.Delete[*corev1.Namespace](ctx, s, "", "going", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := state.Create(ctx, s, pod(func(p *corev1.Pod) { p.Namespace = "going" }))
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("created in a namespace that goes: %v", err)
	}
	want := `pods "p" is forbidden: unable to create new content in namespace going because it is being terminated`
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := state.Delete[*corev1.Namespace](ctx, s, "", "default", state.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("deleted default: %v", err)
	}
}
