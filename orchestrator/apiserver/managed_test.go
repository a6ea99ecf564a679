package apiserver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// owners are an object's managers, each with what it wrote through and which fields.
func owners(obj metav1.Object) (all []string) {
	for _, e := range obj.GetManagedFields() {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Manager, e.Operation, e.Subresource)))
	}
	return all
}

func TestEveryWriterOwnsItsFields(t *testing.T) {
	c := start(t)
	ctx := state.As(t.Context(), state.ManagerController)
	pod := newPod("a")
	if _, err := state.Create(ctx, c.state, pod); err != nil {
		t.Fatal(err)
	}
	kubelet := state.As(t.Context(), state.ManagerKubelet)
	if _, err := state.UpdateStatus(kubelet, c.state, "default", "a", func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodRunning
		p.Spec.Hostname = "no" // not through this door
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, err := state.Update(ctx, c.state, "default", "a", func(p *corev1.Pod) error {
		p.Annotations = map[string]string{"a": "b"}
		p.Status.Phase = corev1.PodFailed // nor this
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := state.Get[*corev1.Pod](c.state, "default", "a")
	want := []string{"kube-controller-manager Update", "kubelet Update status"}
	all := owners(got)
	slices.Sort(all) // times are in seconds
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	fields := map[string]string{}
	for _, e := range got.ManagedFields {
		fields[e.Manager] = string(e.FieldsV1.Raw)
	}
	if diff := cmp.Diff(`{"f:status":{"f:phase":{}}}`, fields["kubelet"]); diff != "" {
		t.Error(diff)
	}
	if f := fields["kube-controller-manager"]; !strings.Contains(f, `"f:annotations":{".":{},"f:a":{}}`) || strings.Contains(f, "status") {
		t.Error(f)
	}
}

// A controller that wrote a field keeps it from a later apply, as in Kubernetes.
func TestApplyConflictsWithControllers(t *testing.T) {
	c := start(t)
	const path = "/apis/apps/v1/namespaces/default/deployments/web"
	const body = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":%d,"selector":{"matchLabels":{"app":"web"}},` +
		`"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"a","env":[{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}]}}}}`
	one := fmt.Sprintf(body, 1)
	created := c.ask("POST", "/apis/apps/v1/namespaces/default/deployments?fieldManager=kubectl-client-side-apply", one, contentJSON)
	if created.StatusCode != 201 {
		t.Fatal(created.body)
	}
	if _, err := state.Update(state.As(t.Context(), "scaler"), c.state, "default", "web", func(d *appsv1.Deployment) error {
		three := int32(3)
		d.Spec.Replicas = &three
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	applied := c.ask("PATCH", path+"?fieldManager=someone", one, "Content-Type: application/apply-patch+yaml")
	if applied.StatusCode != 409 {
		t.Fatal(applied.StatusCode, applied.body)
	}
	// fieldRef is one field, and the server added apiVersion to it: Kubernetes, too, takes it for a conflict.
	for _, part := range []string{
		`conflicts with \"scaler\" using apps/v1:\n- .spec.replicas"`,
		`conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.template.spec.containers[name=\"a\"].env[name=\"N\"].valueFrom.fieldRef\n`,
	} {
		if !strings.Contains(applied.body, part) {
			t.Errorf("%s is not in %s", part, applied.body)
		}
	}
}

// What is remembered of earlier objects must be what is computed.
func TestOwnersOfNewObjectsAreThoseOfTheirShape(t *testing.T) {
	c := start(t)
	fieldsOf := func(pod *corev1.Pod) string {
		made, err := state.Create(state.As(t.Context(), "m"), c.state, pod)
		if err != nil {
			t.Fatal(err)
		}
		if len(made.ManagedFields) != 1 || made.ManagedFields[0].Manager != "m" || made.ManagedFields[0].Time.IsZero() {
			t.Fatal(made.ManagedFields)
		}
		return string(made.ManagedFields[0].FieldsV1.Raw)
	}
	first, second := fieldsOf(newPod("one")), fieldsOf(newPod("two"))
	if first != second {
		t.Error(cmp.Diff(first, second))
	}
	other := newPod("three")
	other.Labels = map[string]string{"new": "one"}
	if f := fieldsOf(other); !strings.Contains(f, `"f:labels":{".":{},"f:new":{}}`) {
		t.Error(f)
	}
}

func BenchmarkOwners(b *testing.B) {
	c := start(b)
	ctx := state.As(b.Context(), state.ManagerController)
	b.Run("create", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := state.Create(ctx, c.state, newPod(fmt.Sprint("p", i))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("create without", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := state.Create(b.Context(), c.state, newPod(fmt.Sprint("q", i))); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, name := range []string{"with", ""} {
		b.Run("status "+name, func(b *testing.B) {
			ctx := b.Context()
			if name != "" {
				ctx = state.As(ctx, state.ManagerKubelet)
			}
			for i := 0; b.Loop(); i++ {
				if _, err := state.UpdateStatus(ctx, c.state, "default", "p0", func(p *corev1.Pod) error {
					p.Status.Message = fmt.Sprint(i)
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
