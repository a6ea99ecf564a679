package state_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
)

func TestListIsOrderedByNamespaceAndName(t *testing.T) {
	overStores(t, func(h *harness) {
		for _, at := range [][2]string{{"b", "x"}, {"a", "z"}, {"a", "y"}, {"a-b", "w"}} {
			cm := configMap(at[1])
			cm.Namespace = at[0]
			h.create(cm)
		}
		if d := cmp.Diff([]string{"w", "y", "z", "x"}, names(h.list(h.configs(), state.ListOptions{}).Entries)); d != "" {
			h.Error(d)
		}
		page := h.list(h.configs(), state.ListOptions{Selector: state.Selector{Namespace: "a"}})
		if d := cmp.Diff([]string{"y", "z"}, names(page.Entries)); d != "" || page.Revision != h.Revision() {
			h.Error(d, page.Revision)
		}
	})
}

func TestSelectors(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	owner := h.create(configMap("owner"))
	for i, name := range []string{"a", "b", "c"} {
		p := pod(name)
		p.Labels = map[string]string{"n": strconv.Itoa(i), "all": "yes"}
		if name != "b" {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.GetUID()}}
		}
		h.create(p)
	}
	other := pod("a")
	other.Namespace = "other"
	h.create(other)
	h.Bind(h.ctx, []state.Binding{{Namespace: "default", Name: "b", Node: "n1"}, {Namespace: "default", Name: "c", Node: "n1"}})

	label := func(s string) labels.Selector { return must(labels.Parse(s)) }
	field := func(s string) fields.Selector { return must(fields.ParseSelector(s)) }
	for _, c := range []struct {
		name string
		sel  state.Selector
		want []string
	}{
		{"all", state.Selector{}, []string{"default/a", "default/b", "default/c", "other/a"}},
		{"namespace", state.Selector{Namespace: "other"}, []string{"other/a"}},
		{"name", state.Selector{Name: "a"}, []string{"default/a", "other/a"}},
		{"name in namespace", state.Selector{Namespace: "default", Name: "a"}, []string{"default/a"}},
		{"prefix of a name", state.Selector{Namespace: "default", Name: ""}, []string{"default/a", "default/b", "default/c"}},
		{"labels", state.Selector{Labels: label("n in (0,2),all=yes")}, []string{"default/a", "default/c"}},
		{"no labels", state.Selector{Labels: label("!all")}, []string{"other/a"}},
		{"owner", state.Selector{Owner: owner.GetUID()}, []string{"default/a", "default/c"}},
		{"unknown owner", state.Selector{Owner: types.UID("?")}, nil},
		{"node", state.Selector{Node: "n1"}, []string{"default/b", "default/c"}},
		{"node and owner", state.Selector{Node: "n1", Owner: owner.GetUID()}, []string{"default/c"}},
		{"field node", state.Selector{Fields: field("spec.nodeName=n1")}, []string{"default/b", "default/c"}},
		{"field no node", state.Selector{Fields: field("spec.nodeName=")}, []string{"default/a", "other/a"}},
		{"field not node", state.Selector{Fields: field("spec.nodeName!=n1")}, []string{"default/a", "other/a"}},
		{"field name", state.Selector{Fields: field("metadata.name=a,metadata.namespace=other")}, []string{"other/a"}},
		{"fields", state.Selector{Fields: field("status.phase=Pending,metadata.name!=b"), Namespace: "default"}, []string{"default/a", "default/c"}},
		{"contradiction", state.Selector{Fields: field("metadata.name=b"), Name: "a"}, nil},
		{"contradicting fields", state.Selector{Fields: field("metadata.name=b,metadata.name!=b")}, nil},
	} {
		var got []string
		for _, e := range h.list(h.pods(), state.ListOptions{Selector: c.sel}).Entries {
			got = append(got, e.Namespace()+"/"+e.Name())
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if n := len(state.List[*corev1.Pod](h.State, c.sel)); n != len(c.want) {
			t.Errorf("%s: typed list has %d", c.name, n)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestIndexesFollowChanges(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	owned := configMap("a")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "u1"}, {APIVersion: "v1", Kind: "Pod", Name: "y", UID: "u2"}}
	h.create(owned)
	_, err := state.Update(h.ctx, h.State, "default", "a", func(cm *corev1.ConfigMap) error {
		cm.OwnerReferences = cm.OwnerReferences[1:]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func(uid types.UID) int {
		return len(state.List[*corev1.ConfigMap](h.State, state.Selector{Owner: uid}))
	}
	if count("u1") != 0 || count("u2") != 1 {
		t.Errorf("after an update: u1 %d, u2 %d", count("u1"), count("u2"))
	}
	h.delete(owned, state.DeleteOptions{})
	if count("u2") != 0 {
		t.Error("a deleted object is still owned")
	}
}

func TestPagesAreOfOneRevision(t *testing.T) {
	overStores(t, func(h *harness) {
		manyConfigs(h, 10)
		first := h.list(h.configs(), state.ListOptions{Limit: 4})
		if first.Remaining == nil || *first.Remaining != 6 || first.Continue == "" {
			h.Fatalf("first page: %+v", first)
		}
		h.delete(configMap("c005"), state.DeleteOptions{})
		h.create(configMap("c0055"))
		h.set("c007", "changed")
		got := names(first.Entries)
		page := first
		for page.Continue != "" {
			page = h.list(h.configs(), state.ListOptions{Limit: 4, Continue: page.Continue})
			if page.Revision != first.Revision {
				h.Errorf("a page of revision %d after %d", page.Revision, first.Revision)
			}
			for _, e := range page.Entries {
				got = append(got, e.Name())
				if e.Name() == "c007" && e.Object().(*corev1.ConfigMap).Data["k"] != "v" {
					h.Error("a later page shows a later value")
				}
			}
		}
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprintf("c%03d", i))
		}
		if d := cmp.Diff(want, got); d != "" {
			h.Error(d)
		}
	})
}

func TestPagesWithSelectorEndExactly(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	manyConfigs(h, 4)
	h.create(labelled("d", map[string]string{"x": "1"}))
	h.create(labelled("e", map[string]string{"x": "1"}))
	h.create(configMap("f"))
	sel := state.Selector{Labels: must(labels.Parse("x=1"))}
	first := h.list(h.configs(), state.ListOptions{Selector: sel, Limit: 1})
	second := h.list(h.configs(), state.ListOptions{Selector: sel, Limit: 1, Continue: first.Continue})
	if first.Remaining != nil || names(first.Entries)[0] != "d" || names(second.Entries)[0] != "e" || second.Continue != "" {
		t.Errorf("pages: %+v, %+v", first, second)
	}
}

func TestListAtRevision(t *testing.T) {
	overStores(t, func(h *harness) {
		old := h.create(configMap("a"))
		h.set("a", "new")
		h.create(configMap("b"))
		rv := old.GetResourceVersion()
		exact := h.list(h.configs(), state.ListOptions{ResourceVersion: rv, Match: metav1.ResourceVersionMatchExact})
		if len(exact.Entries) != 1 || exact.Entries[0].Object().(*corev1.ConfigMap).Data["k"] != "v" || strconv.FormatUint(exact.Revision, 10) != rv {
			h.Errorf("exact: %v at %d", names(exact.Entries), exact.Revision)
		}
		for _, o := range []state.ListOptions{
			{}, {ResourceVersion: "0"}, {ResourceVersion: rv}, {ResourceVersion: rv, Match: metav1.ResourceVersionMatchNotOlderThan},
		} {
			if page := h.list(h.configs(), o); len(page.Entries) != 2 || page.Revision != h.Revision() {
				h.Errorf("%+v: %v at %d", o, names(page.Entries), page.Revision)
			}
		}
	})
}

func TestListRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memstore.New(), state.Options{})
		manyConfigs(h, 3)
		page := h.list(h.configs(), state.ListOptions{Limit: 1})
		h.set("c002", "x")
		old := h.Revision()
		h.set("c002", "y")
		if err := h.store.Compact(h.ctx, h.store.Revision()); err != nil {
			t.Fatal(err)
		}
		list := func(o state.ListOptions) error {
			_, err := h.List(h.ctx, h.configs(), o)
			return err
		}
		err := list(state.ListOptions{Limit: 1, Continue: page.Continue})
		if !apierrors.IsResourceExpired(err) {
			t.Fatalf("compacted: %v", err)
		}
		rest := h.list(h.configs(), state.ListOptions{Continue: err.(apierrors.APIStatus).Status().Continue})
		if d := cmp.Diff([]string{"c001", "c002"}, names(rest.Entries)); d != "" || rest.Revision != h.Revision() {
			t.Errorf("going on inconsistently: %s", d)
		}
		wantError(t, list(state.ListOptions{ResourceVersion: fmt.Sprint(old), Match: metav1.ResourceVersionMatchExact}),
			metav1.StatusReasonExpired, "The resourceVersion for the provided list is too old.")
		wantError(t, list(state.ListOptions{ResourceVersion: "100"}),
			metav1.StatusReasonTimeout, fmt.Sprintf("Timeout: Too large resource version: 100, current: %d", h.Revision()))
		for _, o := range []state.ListOptions{
			{Continue: "?"}, {Continue: "e30"}, {ResourceVersion: "x"}, {Continue: page.Continue, ResourceVersion: "3"},
			{ResourceVersion: "0", Match: metav1.ResourceVersionMatchExact},
		} {
			if err := list(o); !apierrors.IsBadRequest(err) {
				t.Errorf("%+v: %v", o, err)
			}
		}
	})
}

func TestEntryForms(t *testing.T) {
	h := start(t, memstore.New(), state.Options{CacheBytes: 1000})
	scheme := h.Kinds().Scheme()
	codec := protobuf.NewSerializer(scheme, scheme)
	for i := range 5 { // more than fit into the cache
		name := fmt.Sprintf("p%d", i)
		p := pod(name)
		p.Labels = map[string]string{"a": "b"}
		h.create(p)
		e := must(h.Get(h.ctx, h.pods(), "default", name))
		want := e.Object()
		var fromJSON corev1.Pod
		if err := json.Unmarshal(e.JSON(), &fromJSON); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, state.Object(&fromJSON)); d != "" {
			t.Errorf("JSON: %s", d)
		}
		fromProto, _, err := codec.Decode(e.Proto(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		fromProto.GetObjectKind().SetGroupVersionKind(want.GetObjectKind().GroupVersionKind())
		if d := cmp.Diff(any(want), any(fromProto)); d != "" {
			t.Errorf("protobuf: %s", d)
		}
		var fromMessage corev1.Pod
		if err := fromMessage.Unmarshal(e.Message()); err != nil || fromMessage.ResourceVersion != want.GetResourceVersion() {
			t.Errorf("message: %v, %s", err, fromMessage.ResourceVersion)
		}
		if e.UID() != want.GetUID() || e.Labels()["a"] != "b" || fmt.Sprint(e.Revision()) != want.GetResourceVersion() {
			t.Errorf("fields of %+v", e)
		}
	}
}

func TestOpenReadsWhatIsThere(t *testing.T) {
	st := memstore.New()
	h := start(t, st, state.Options{})
	h.create(service("s"))
	p := pod("p")
	h.create(p)
	h.Bind(h.ctx, []state.Binding{{Namespace: "default", Name: "p", Node: "n"}})
	again := start(t, st, state.Options{})
	if again.Revision() != h.Revision() {
		t.Errorf("revision %d, want %d", again.Revision(), h.Revision())
	}
	if len(state.List[*corev1.Pod](again.State, state.Selector{Node: "n"})) != 1 {
		t.Error("the index by node was not built")
	}
	taken := service("t")
	s, _ := state.Get[*corev1.Service](again.State, "default", "s")
	taken.Spec.ClusterIP = s.Spec.ClusterIP
	if _, err := state.Create(again.ctx, again.State, taken); !apierrors.IsInvalid(err) {
		t.Errorf("a claim was not read: %v", err)
	}
	if d := cmp.Diff([]string{"s", "t"}, func() []string {
		again.create(service("t"))
		return names(h.list(h.kind(taken), state.ListOptions{}).Entries)
	}()); d != "" {
		t.Errorf("one state does not see what another was answered: %s", d)
	}
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	h.create(configMap("a"))
	stored := must(h.store.Get(h.ctx, "/core/configmaps/default/a")).Value
	for name, c := range map[string]struct {
		key   string
		value []byte
	}{
		"garbage":     {"/core/configmaps/default/x", []byte("k8s\x00\xff\xff")},
		"not JSON":    {"/core/configmaps/default/x", []byte("hello")},
		"wrong place": {"/core/configmaps/default/b", stored},
	} {
		st := memstore.New()
		must(st.Commit(h.ctx, store.Op{Key: c.key, Value: c.value}))
		if _, err := state.Open(h.ctx, st, state.Options{Kinds: h.Kinds()}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestKeysOfOthersAreLeftAlone(t *testing.T) {
	st := memstore.New()
	for _, key := range []string{"/x", "/x/y", "/core/unknown/a/b", "/"} {
		must(st.Commit(t.Context(), store.Op{Key: key, Value: []byte("?")}))
	}
	h := start(t, st, state.Options{})
	must(st.Commit(t.Context(), store.Op{Key: "/x/z", Value: []byte("?")}))
	h.create(configMap("a"))
}

// Rows are kept for a hundredth of the time for which they have been shown, and a second at least.
func TestCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, memstore.New(), state.Options{Kinds: resource.New(), CacheBytes: 4 << 10})
		pods := h.kind((*corev1.Pod)(nil))
		create := func(p *corev1.Pod) {
			t.Helper()
			if _, err := h.Create(t.Context(), pods, p, state.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		create(pod("a"))
		at := func(after time.Duration) string {
			t.Helper()
			time.Sleep(after)
			e, err := h.Get(t.Context(), pods, "default", "a")
			if err != nil {
				t.Fatal(err)
			}
			return string(e.Row())
		}
		for _, step := range []struct {
			after time.Duration
			age   string
		}{{0, "0s"}, {900 * time.Millisecond, "0s"}, {100 * time.Millisecond, "1s"}, {2 * time.Hour, "120m"}, {30 * time.Second, "120m"}, {time.Minute, "121m"}} {
			if got := at(step.after); !strings.Contains(got, `"`+step.age+`"`) {
				t.Errorf("%s, want the age %s", got, step.age)
			}
		}
		for i := range 100 { // more than there is room for
			create(pod(fmt.Sprint("p", i)))
			e, err := h.Get(t.Context(), pods, "default", fmt.Sprint("p", i))
			if err != nil || !strings.Contains(string(e.Row()), fmt.Sprintf(`"p%d"`, i)) || len(e.JSON()) == 0 {
				t.Fatalf("%s, %v", e.Row(), err)
			}
		}
	})
}
