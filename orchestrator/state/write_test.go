package state_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// wantError compares an error's reason and message.
func wantError(t *testing.T, err error, reason metav1.StatusReason, message string) {
	t.Helper()
	if apierrors.ReasonForError(err) != reason || err.Error() != message {
		t.Errorf("error is %s: %v\n    want %s: %s", apierrors.ReasonForError(err), err, reason, message)
	}
}

func TestCreateCompletes(t *testing.T) {
	overStores(t, func(h *harness) {
		given := pod("p")
		given.UID, given.Status.Phase = "mine", corev1.PodRunning
		p := h.create(given).(*corev1.Pod)
		if given.ResourceVersion != "" || given.UID != "mine" {
			h.Error("the caller's object was changed")
		}
		if p.UID == "" || p.UID == "mine" || p.CreationTimestamp.IsZero() || p.CreationTimestamp.Nanosecond() != 0 {
			h.Errorf("metadata: %+v", p.ObjectMeta)
		}
		if p.APIVersion != "v1" || p.Kind != "Pod" || p.ResourceVersion != fmt.Sprint(h.Revision()) {
			h.Errorf("apiVersion %q, kind %q, resourceVersion %q at %d", p.APIVersion, p.Kind, p.ResourceVersion, h.Revision())
		}
		if p.Spec.RestartPolicy != corev1.RestartPolicyAlways || p.Status.Phase != corev1.PodPending {
			h.Errorf("not defaulted or prepared: %+v", p)
		}
		got, ok := state.Get[*corev1.Pod](h.State, "default", "p")
		if !ok || got != p {
			h.Error("the stored object is not the one that was returned")
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	h.create(configMap("a"))
	_, err := state.Create(h.ctx, h.State, configMap("a"))
	wantError(t, err, metav1.StatusReasonAlreadyExists, `configmaps "a" already exists`)

	_, err = state.Create(h.ctx, h.State, configMap("A_b"))
	if !apierrors.IsInvalid(err) || !strings.HasPrefix(err.Error(), `ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain`) {
		t.Errorf("bad name: %v", err)
	}
	bad := configMap("b")
	bad.ResourceVersion = "7"
	_, err = state.Create(h.ctx, h.State, bad)
	wantError(t, err, metav1.StatusReasonBadRequest, "resourceVersion should not be set on objects to be created")

	nowhere := configMap("c")
	nowhere.Namespace = ""
	if _, err = state.Create(h.ctx, h.State, nowhere); !apierrors.IsInvalid(err) {
		t.Errorf("no namespace: %v", err)
	}
}

func TestGenerateName(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	for _, c := range []struct{ prefix, kept string }{{"web-", "web-"}, {strings.Repeat("x", 70), strings.Repeat("x", 58)}} {
		cm := configMap("")
		cm.GenerateName = c.prefix
		got := h.create(cm).GetName()
		if !strings.HasPrefix(got, c.kept) || len(got) != len(c.kept)+5 {
			t.Errorf("%q became %q", c.prefix, got)
		}
	}
}

func TestUpdateWritesOnlyChanges(t *testing.T) {
	overStores(t, func(h *harness) {
		was := h.create(configMap("a"))
		same := h.set("a", "v")
		if same.ResourceVersion != was.GetResourceVersion() {
			h.Errorf("an update without effect wrote revision %s", same.ResourceVersion)
		}
		next := h.set("a", "w")
		if next.ResourceVersion == was.GetResourceVersion() || next.UID != was.GetUID() {
			h.Errorf("after an update: %+v", next.ObjectMeta)
		}
		if was.(*corev1.ConfigMap).Data["k"] != "v" {
			h.Error("an update changed a shared object")
		}
	})
}

func TestUpdateRefuses(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	old := h.create(configMap("a")).(*corev1.ConfigMap)
	h.set("a", "w")
	put := func(change func(cm *corev1.ConfigMap)) error {
		_, _, err := h.Update(h.ctx, h.configs(), "default", "a", func(live state.Object) (state.Object, error) {
			cm := live.(*corev1.ConfigMap)
			change(cm)
			return cm, nil
		}, state.UpdateOptions{})
		return err
	}
	wantError(t, put(func(cm *corev1.ConfigMap) { cm.ResourceVersion = old.ResourceVersion; cm.Data = nil }), metav1.StatusReasonConflict,
		`Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`)
	wantError(t, put(func(cm *corev1.ConfigMap) { cm.UID = "other" }), metav1.StatusReasonConflict,
		`Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: other, UID in object meta: `+string(old.UID))
	wantError(t, put(func(cm *corev1.ConfigMap) { cm.Name = "b" }), metav1.StatusReasonBadRequest,
		"the name of the object (b) does not match the name on the URL (a)")
	if err := put(func(cm *corev1.ConfigMap) { cm.ResourceVersion = ""; cm.Data = nil }); err != nil {
		t.Errorf("unconditional: %v", err)
	}
	_, err := state.Update(h.ctx, h.State, "default", "none", func(*corev1.ConfigMap) error { return nil })
	wantError(t, err, metav1.StatusReasonNotFound, `configmaps "none" not found`)

	_, _, err = h.Update(h.ctx, h.configs(), "default", "a", nil, state.UpdateOptions{Subresource: "scale"})
	wantError(t, err, metav1.StatusReasonBadRequest, `configmaps has no subresource "scale"`)
}

func TestUpdateCreates(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	apply := func() (state.Object, bool) {
		obj, created, err := h.Update(h.ctx, h.configs(), "default", "a", func(live state.Object) (state.Object, error) {
			if live == nil {
				return configMap("a"), nil
			}
			live.SetLabels(map[string]string{"seen": "yes"})
			return live, nil
		}, state.UpdateOptions{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return obj, created
	}
	if obj, created := apply(); !created || obj.GetUID() == "" {
		t.Errorf("first: created %v, %v", created, obj)
	}
	if obj, created := apply(); created || obj.GetLabels()["seen"] != "yes" {
		t.Errorf("second: created %v, %v", created, obj)
	}
}

func TestConcurrentUpdatesAllCount(t *testing.T) {
	overStores(t, func(h *harness) {
		h.create(labelled("a", nil))
		var wg sync.WaitGroup
		const writers, each = 8, 10
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					_, err := state.Update(h.ctx, h.State, "default", "a", func(cm *corev1.ConfigMap) error {
						cm.Data[fmt.Sprintf("w%d-%d", w, i)] = "x"
						return nil
					})
					if err != nil {
						h.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if cm, _ := state.Get[*corev1.ConfigMap](h.State, "default", "a"); len(cm.Data) != 1+writers*each {
			h.Errorf("%d of %d writes are there", len(cm.Data)-1, writers*each)
		}
	})
}

func TestConcurrentCreatesOneWins(t *testing.T) {
	overStores(t, func(h *harness) {
		var wg sync.WaitGroup
		results := make([]error, 10)
		for i := range results {
			wg.Go(func() { _, results[i] = state.Create(h.ctx, h.State, configMap("a")) })
		}
		wg.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if !apierrors.IsAlreadyExists(err) {
				h.Errorf("a loser got %v", err)
			}
		}
		if won != 1 {
			h.Errorf("%d won", won)
		}
	})
}

func TestStatusAndSpecGoThroughTheirOwnDoors(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	h.create(pod("p"))
	edit := func(p *corev1.Pod) error {
		p.Status.Phase = corev1.PodRunning
		p.Labels = map[string]string{"a": "b"}
		return nil
	}
	p, err := state.Update(h.ctx, h.State, "default", "p", edit)
	if err != nil || p.Status.Phase != corev1.PodPending || p.Labels["a"] != "b" {
		t.Errorf("main door: %v, %+v", err, p)
	}
	p, err = state.UpdateStatus(h.ctx, h.State, "default", "p", edit)
	if err != nil || p.Status.Phase != corev1.PodRunning {
		t.Errorf("status: %v, %+v", err, p)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	h.create(configMap("a"))
	before := h.Revision()
	obj := h.createAs(configMap("b"), state.CreateOptions{DryRun: true})
	if obj.GetUID() == "" {
		t.Error("a dry run did not complete the object")
	}
	_, err := h.Create(h.ctx, h.configs(), configMap("a"), state.CreateOptions{DryRun: true})
	wantError(t, err, metav1.StatusReasonAlreadyExists, `configmaps "a" already exists`)
	_, _, err = h.Update(h.ctx, h.configs(), "default", "a", func(live state.Object) (state.Object, error) {
		live.SetLabels(map[string]string{"x": "y"})
		return live, nil
	}, state.UpdateOptions{DryRun: true})
	if err != nil {
		t.Error(err)
	}
	if _, gone := h.delete(configMap("a"), state.DeleteOptions{DryRun: true}); !gone {
		t.Error("a dry deletion of what nothing holds is not gone")
	}
	if h.store.Revision() != before {
		t.Errorf("dry runs moved the store from %d to %d", before, h.store.Revision())
	}
}

func TestServicesNeverShareAnAddress(t *testing.T) {
	overStores(t, func(h *harness) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { h.create(service(fmt.Sprintf("s%d", i))) })
		}
		wg.Wait()
		seen := map[string]string{}
		for _, s := range state.List[*corev1.Service](h.State, state.Selector{}) {
			if other, ok := seen[s.Spec.ClusterIP]; ok || s.Spec.ClusterIP == "" {
				h.Errorf("%s has address %q, as has %q", s.Name, s.Spec.ClusterIP, other)
			}
			seen[s.Spec.ClusterIP] = s.Name
		}
		wanted := service("late")
		wanted.Spec.ClusterIP = state.List[*corev1.Service](h.State, state.Selector{Name: "s0"})[0].Spec.ClusterIP
		_, err := state.Create(h.ctx, h.State, wanted)
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.clusterIPs: Invalid value: ") {
			h.Errorf("an address that is taken: %v", err)
		}
		h.delete(service("s0"), state.DeleteOptions{})
		h.create(wanted)
	})
}

func TestBind(t *testing.T) {
	overStores(t, func(h *harness) {
		for _, name := range []string{"free", "bound", "going"} {
			h.create(pod(name))
		}
		gated := pod("gated")
		gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}}
		h.create(gated)
		if errs := h.Bind(h.ctx, []state.Binding{
			{Namespace: "default", Name: "bound", Node: "n1"}, {Namespace: "default", Name: "going", Node: "n1"},
		}); errs[0] != nil || errs[1] != nil {
			h.Fatal(errs)
		}
		h.delete(pod("going"), state.DeleteOptions{})
		bindings := []state.Binding{{Namespace: "default", Name: "none", Node: "n2"}}
		for _, name := range []string{"free", "bound", "going", "gated"} {
			bindings = append(bindings, state.Binding{Namespace: "default", Name: name, Node: "n2"})
		}
		const cannot = `Operation cannot be fulfilled on pods/binding `
		for i, want := range []string{
			`pods "none" not found`,
			"",
			cannot + `"bound": pod bound is already assigned to node "n1"`,
			cannot + `"going": pod going is being deleted, cannot be assigned to a host`,
			cannot + `"gated": pod gated has non-empty .spec.schedulingGates`,
		} {
			bindings[i].UID = ""
			if got := h.Bind(h.ctx, bindings[i:i+1])[0]; want == "" && got != nil || want != "" && (got == nil || got.Error() != want) {
				h.Errorf("bind %s: %v, want %q", bindings[i].Name, got, want)
			}
		}
		wrong := []state.Binding{{Namespace: "default", Name: "free", UID: types.UID("other"), Node: "n3"}}
		if err := h.Bind(h.ctx, wrong)[0]; !apierrors.IsConflict(err) {
			h.Errorf("another uid: %v", err)
		}
		p, _ := state.Get[*corev1.Pod](h.State, "default", "free")
		c := p.Status.Conditions
		if p.Spec.NodeName != "n2" || len(c) != 1 || c[0].Type != corev1.PodScheduled || c[0].Status != corev1.ConditionTrue || c[0].LastTransitionTime.IsZero() {
			h.Errorf("bound pod: %q, %+v", p.Spec.NodeName, c)
		}
	})
}

func TestBindManyInFewCommits(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	var bindings []state.Binding
	for i := range 600 {
		name := fmt.Sprintf("p%03d", i)
		h.create(pod(name))
		bindings = append(bindings, state.Binding{Namespace: "default", Name: name, Node: "n"})
	}
	before := h.Revision()
	for i, err := range h.Bind(h.ctx, bindings) {
		if err != nil {
			t.Fatalf("binding %d: %v", i, err)
		}
	}
	if commits := h.Revision() - before; commits != 2 {
		t.Errorf("%d commits, want 2", commits)
	}
	if n := len(state.List[*corev1.Pod](h.State, state.Selector{Node: "n"})); n != 600 {
		t.Errorf("%d pods on the node", n)
	}
}

// admission (in both phases) refuses what is called forbidden, labels the rest, and notes what it saw.
type admission struct {
	mu   sync.Mutex
	seen []string
}

func (a *admission) Admit(_ context.Context, at *state.Attributes) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	who := ""
	if at.User != nil {
		who = at.User.Username + " of " + strings.Join(at.User.Groups, ",")
	}
	if at.Options != nil {
		who += fmt.Sprintf(" %T", at.Options)
	}
	a.seen = append(a.seen, strings.TrimSpace(at.Operation+" "+at.Name+" "+at.Subresource+" "+who))
	if at.Name == "forbidden" {
		return apierrors.NewForbidden(at.Kind.GroupResource(), at.Name, errors.New("because"))
	}
	if at.Operation == state.OpCreate {
		at.Object.SetLabels(map[string]string{"admitted": "yes"})
	}
	if at.Operation == state.OpDelete != (at.Object == nil) || at.Operation == state.OpCreate != (at.Old == nil) {
		return errors.New("wrong objects")
	}
	return nil
}

// Validate notes what it saw of the final object, and refuses what is called invalid.
func (a *admission) Validate(_ context.Context, at *state.Attributes) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, "then "+at.Operation+" "+at.Name)
	if pod, ok := at.Object.(*corev1.Pod); ok && pod.Status.Phase != corev1.PodPending && at.Subresource == "" {
		return errors.New("the kind's rules did not come before")
	}
	if at.Name == "invalid" {
		return apierrors.NewForbidden(at.Kind.GroupResource(), at.Name, errors.New("because of the end"))
	}
	return nil
}

func TestAdmissionSeesEveryWrite(t *testing.T) {
	a, me := &admission{}, &authenticationv1.UserInfo{Username: "me", Groups: []string{"us", "them"}}
	h := start(t, memstore.New(), state.Options{Admission: a})
	created := h.createAs(pod("p"), state.CreateOptions{User: me, Options: &metav1.CreateOptions{}})
	if created.GetLabels()["admitted"] != "yes" {
		t.Error("what admission changed was not stored")
	}
	_, err := state.Create(h.ctx, h.State, pod("forbidden"))
	wantError(t, err, metav1.StatusReasonForbidden, `pods "forbidden" is forbidden: because`)
	if _, err := state.UpdateStatus(h.ctx, h.State, "default", "p", func(*corev1.Pod) error { return nil }); err != nil {
		t.Fatal(err)
	}
	edit := func(live state.Object) (state.Object, error) {
		if live == nil {
			live = pod("q")
		}
		live.SetLabels(map[string]string{"edited": "yes"})
		return live, nil
	}
	for _, name := range []string{"p", "q"} {
		o := state.UpdateOptions{User: me, Options: &metav1.UpdateOptions{}, Create: true}
		if _, _, err := h.Update(h.ctx, h.pods(), "default", name, edit, o); err != nil {
			t.Fatal(err)
		}
	}
	h.delete(created, state.DeleteOptions{User: me, Options: &metav1.DeleteOptions{}})
	if errs := h.Bind(h.ctx, []state.Binding{{Namespace: "default", Name: "q", Node: "n"}}); errs[0] != nil {
		t.Error(errs[0])
	}
	if q, _ := state.Get[*corev1.Pod](h.State, "default", "q"); q.Spec.NodeName != "n" || q.Labels["admitted"] != "yes" {
		t.Errorf("what admission added to the binding is not on the pod: %v", q.Labels)
	}
	_, err = state.Create(h.ctx, h.State, pod("invalid"))
	wantError(t, err, metav1.StatusReasonForbidden, `pods "invalid" is forbidden: because of the end`)
	want := []string{
		"CREATE p  me of us,them *v1.CreateOptions", "then CREATE p", "CREATE forbidden",
		"UPDATE p status", "then UPDATE p",
		"UPDATE p  me of us,them *v1.UpdateOptions", "then UPDATE p",
		"CREATE q  me of us,them *v1.CreateOptions", "then CREATE q",
		"DELETE p  me of us,them *v1.DeleteOptions", "then DELETE p",
		"CREATE q binding", "then CREATE q", "CREATE invalid", "then CREATE invalid",
	}
	if d := cmp.Diff(want, a.seen); d != "" {
		t.Error(d)
	}
}

func TestWriteSeesItsOwnEffect(t *testing.T) {
	overStores(t, func(h *harness) {
		for i := range 50 {
			name := fmt.Sprintf("c%d", i)
			h.create(configMap(name))
			if _, ok := state.Get[*corev1.ConfigMap](h.State, "default", name); !ok {
				h.Fatalf("%s was created and is not seen", name)
			}
		}
	})
}

func TestWritesEndWithTheirContext(t *testing.T) {
	s, err := state.Open(t.Context(), memstore.New(), state.Options{Kinds: start(t, memstore.New(), state.Options{}).Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := state.Create(ctx, s, configMap("a")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write to a state that does not run: %v", err)
	}
}
