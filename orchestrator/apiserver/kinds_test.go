package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

const contentProto = "application/vnd.kubernetes.protobuf"

// sample is testdata/kinds/*.yaml: an object of one kind with its fields set.
type sample struct {
	kind *resource.Kind
	want *unstructured.Unstructured
	base string // of the collection
	name string
}

func (s *sample) one() string { return s.base + "/" + s.name }

func readSamples(t *testing.T, kinds *resource.Registry) []*sample {
	t.Helper()
	files, err := filepath.Glob("testdata/kinds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	var all []*sample
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &sample{want: &unstructured.Unstructured{}}
		if err := yaml.Unmarshal(data, &s.want.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		kind, ok := kinds.Kind(s.want.GroupVersionKind())
		if !ok {
			t.Fatalf("%s: %s is not served", file, s.want.GroupVersionKind())
		}
		s.kind, s.name = kind, s.want.GetName()
		s.base = "/apis/" + kind.GroupVersion().String()
		if kind.Group == "" {
			s.base = "/api/" + kind.Version
		}
		if kind.Namespaced {
			s.base += "/namespaces/" + s.want.GetNamespace()
		}
		s.base += "/" + kind.Plural
		all = append(all, s)
	}
	return all
}

// Every kind keeps what it is given: through each verb and encoding, and over a restart.
func TestEveryKindKeepsWhatItIsGiven(t *testing.T) {
	store := memstore.New()
	c := startOn(t, store)
	create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}) // for what limits pods
	samples := readSamples(t, c.state.Kinds())
	covered := map[*resource.Kind]bool{}
	for _, s := range samples {
		covered[s.kind] = true
		t.Run(s.kind.Kind+"."+s.kind.GroupVersion().String(), func(t *testing.T) { s.live(t, c) })
	}
	for _, k := range c.state.Kinds().All() {
		if !covered[k] && !withoutSample[k.Kind] {
			t.Errorf("no sample of %s", k.GroupVersionKind)
		}
	}
	again, err := state.Open(context.Background(), store, state.Options{Kinds: resource.New()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		kind, _ := again.Kinds().Kind(s.kind.GroupVersionKind)
		namespace := s.want.GetNamespace()
		before, err := c.state.Get(t.Context(), s.kind, namespace, s.name)
		if err != nil {
			t.Fatal(err)
		}
		after, err := again.Get(t.Context(), kind, namespace, s.name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(before.JSON()), string(after.JSON())); diff != "" {
			t.Errorf("%s after a restart:\n%s", s.one(), diff)
		}
	}
}

// withoutSample are kinds whose whole story is told elsewhere.
var withoutSample = map[string]bool{"CertificateSigningRequest": true, "ComponentStatus": true, "CustomResourceDefinition": true}

// ComponentStatuses are made when asked for, and cannot be written.
func TestComponentStatuses(t *testing.T) {
	broken := errors.New("the disk is gone")
	c := start(t, func(cfg *apiserver.Config) {
		cfg.Live = []apiserver.Check{{Name: "store", Run: func(context.Context) error { return broken }}}
	})
	const all = "/api/v1/componentstatuses"
	for _, step := range []struct {
		method, path, accept string
		code                 int
		want                 string
	}{
		{"GET", all + "/scheduler", "", 200, `"conditions":[{"type":"Healthy","status":"True","message":"ok"}]`},
		{"GET", all + "/etcd-0", asTable, 200, `["etcd-0","Unhealthy","","the disk is gone"]`},
		{"GET", all + "?fieldSelector=metadata.name%3Dscheduler", asTable, 200, `"rows":[{"cells":["scheduler","Healthy","ok",""]`},
		{"GET", all + "/kubelet", "", 404, `componentstatuses \"kubelet\" not found`},
		{"POST", all, "", 405, "MethodNotAllowed"},
		{"GET", all + "?watch=1", "", 405, "MethodNotAllowed"},
	} {
		a := c.ask(step.method, step.path, "", step.accept)
		if a.StatusCode != step.code || !strings.Contains(a.body, step.want) {
			t.Errorf("%s %s: %d %s", step.method, step.path, a.StatusCode, a.body)
		}
		if step.code == 200 && !strings.Contains(a.Header.Get("Warning"), "v1 ComponentStatus is deprecated in v1.19+") {
			t.Errorf("%s: warned %q", step.path, a.Header.Get("Warning"))
		}
	}
}

// live creates, reads and changes the object in every way.
func (s *sample) live(t *testing.T, c *cluster) {
	c = &cluster{t: t, state: c.state, server: c.server}
	body, err := json.Marshal(s.want)
	if err != nil {
		t.Fatal(err)
	}
	s.holds(t, "create", c.ask("POST", s.base, string(body), contentJSON, "Accept: application/json"), 201)
	s.holds(t, "get", c.ask("GET", s.one(), ""), 200)
	s.holds(t, "protobuf", unpacked(t, c, s.kind, c.ask("GET", s.one(), "", "Accept: "+contentProto)), 200)
	s.holds(t, "list", firstItem(t, s.name, c.ask("GET", s.base, "")), 200)
	s.watched(t, c)
	s.table(t, c)
	s.holds(t, "put", c.ask("PUT", s.one(), c.ask("GET", s.one(), "").body, contentJSON), 200)
	s.holds(t, "merge patch", c.ask("PATCH", s.one(), `{"metadata":{"annotations":{"m":"1"}}}`, contentMerge), 200)
	s.holds(t, "strategic patch", c.ask("PATCH", s.one(), `{"metadata":{"annotations":{"s":"2"}}}`, contentSMP), 200)
	s.holds(t, "JSON patch", c.ask("PATCH", s.one(), `[{"op":"add","path":"/metadata/annotations/j","value":"3"}]`, contentJPat), 200)
	s.holds(t, "apply", c.ask("PATCH", s.one()+"?fieldManager=applier", string(body), contentApply), 200)
	last := c.ask("GET", s.one(), "")
	for _, annotation := range []string{`"m":"1"`, `"s":"2"`, `"j":"3"`} {
		if !strings.Contains(last.body, annotation) {
			t.Errorf("annotation %s is lost: %s", annotation, last.body)
		}
	}
	s.repeated(t, c)
}

// repeated makes the same object from protobuf in a dry run: it must exist.
func (s *sample) repeated(t *testing.T, c *cluster) {
	t.Helper()
	packed := c.ask("GET", s.one(), "", "Accept: "+contentProto)
	if a := c.ask("PUT", s.one(), packed.body, "Content-Type: "+contentProto); a.StatusCode != 200 {
		t.Errorf("protobuf put: %d %s", a.StatusCode, a.body)
	} else {
		s.holds(t, "protobuf put", a, 200)
	}
}

// holds checks that everything of the sample is in the answer.
func (s *sample) holds(t *testing.T, step string, a answer, code int) {
	t.Helper()
	if a.StatusCode != code {
		t.Fatalf("%s: %d %s", step, a.StatusCode, a.body)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%s: %v: %s", step, err, a.body)
	}
	for _, problem := range missing("", toJSON(t, s.want.Object), got) {
		t.Errorf("%s: %s", step, problem)
	}
}

func toJSON(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// missing lists what of want is not in got. Lists must be as long as they were.
func missing(path string, want, got any) []string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %v", path, got)}
		}
		var all []string
		for k, v := range w {
			all = append(all, missing(path+"."+k, v, g[k])...)
		}
		return all
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return []string{fmt.Sprintf("%s: want %v, got %v", path, want, got)}
		}
		var all []string
		for i := range w {
			all = append(all, missing(fmt.Sprintf("%s[%d]", path, i), w[i], g[i])...)
		}
		return all
	}
	if !cmp.Equal(want, got) {
		return []string{fmt.Sprintf("%s: want %v, got %v", path, want, got)}
	}
	return nil
}

// unpacked turns a protobuf answer into a JSON one.
func unpacked(t *testing.T, c *cluster, kind *resource.Kind, a answer) answer {
	t.Helper()
	if a.Header.Get("Content-Type") != contentProto {
		t.Fatalf("%s: %s", a.Header.Get("Content-Type"), a.body)
	}
	scheme := c.state.Kinds().Scheme()
	obj, _, err := protobuf.NewSerializer(scheme, scheme).Decode([]byte(a.body), nil, kind.New())
	if err != nil {
		t.Fatal(err)
	}
	obj.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	if kind.Decoded != nil {
		kind.Decoded(obj.(resource.Object)) // what protobuf does not carry
	}
	a.body = text(t, obj)
	return a
}

func text(t *testing.T, obj runtime.Object) string {
	t.Helper()
	b, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// firstItem is the item of a list that has the name; kind and apiVersion are those of the list.
func firstItem(t *testing.T, name string, a answer) answer {
	t.Helper()
	var list unstructured.UnstructuredList
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	for _, item := range list.Items {
		if item.GetName() == name {
			item.SetAPIVersion(list.GetAPIVersion())
			item.SetKind(strings.TrimSuffix(list.GetKind(), "List"))
			b, err := json.Marshal(&item)
			if err != nil {
				t.Fatal(err)
			}
			a.body = string(b)
			return a
		}
	}
	t.Fatalf("%s is not in the list: %s", name, a.body)
	return a
}

// watched reads the object as the first event of a watch.
func (s *sample) watched(t *testing.T, c *cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := c.state.Watch(ctx, s.kind, state.WatchOptions{Initial: true, Selector: state.Selector{Namespace: s.want.GetNamespace(), Name: s.name}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	events, _, err := w.Next(ctx)
	if err != nil || len(events) == 0 || events[0].Entry == nil {
		t.Fatalf("watch: %v, %v", events, err)
	}
	a := c.ask("GET", s.one(), "")
	a.body = string(events[0].Entry.JSON())
	s.holds(t, "watch", a, 200)
}

// table asks for the object as a row: as many cells as columns.
func (s *sample) table(t *testing.T, c *cluster) {
	t.Helper()
	a := c.ask("GET", s.one(), "", asTable)
	var table metav1.Table
	if err := json.Unmarshal([]byte(a.body), &table); err != nil || len(table.Rows) != 1 || len(table.Rows[0].Cells) != len(table.ColumnDefinitions) {
		t.Errorf("table: %v: %s", err, a.body)
	}
}
