package admission_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

var update = flag.Bool("update", false, "write what comes out into the stories")

// TestStories plays testdata/*.txtar on a state with the default rules: each file NAME.create.yaml,
// NAME.update.yaml, NAME.update.SUBRESOURCE.yaml or NAME.delete.yaml holds objects that are written one after the
// other; the file NAME.out behind it holds what was stored of the last one, or the error, and what admission told.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no stories")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			story, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := open(t)
			quietAccount(t, s, "default")
			played := play(t, s, story)
			if *update {
				if err := os.WriteFile(file, txtar.Format(played), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, got := txtar.Format(story), txtar.Format(played); !*update && !bytes.Equal(want, got) {
				t.Errorf("it came out differently (-update writes it):\n%s", got)
			}
		})
	}
}

func play(t *testing.T, s *state.State, story *txtar.Archive) *txtar.Archive {
	played := &txtar.Archive{Comment: story.Comment}
	for _, f := range story.Files {
		parts := strings.Split(f.Name, ".")
		if parts[len(parts)-1] != "yaml" {
			continue
		}
		sub := ""
		if len(parts) == 4 {
			sub = parts[2]
		}
		var out strings.Builder
		told := &state.Remarks{
			OnWarning: func(text string) { fmt.Fprintf(&out, "warning: %s\n", text) },
			OnAudit:   func(key, value string) { fmt.Fprintf(&out, "audit: %s: %s\n", key, value) },
		}
		var last string
		for _, doc := range strings.Split(string(f.Data), "---\n") {
			last = act(t, s, parts[1], sub, doc, told)
		}
		out.WriteString(last)
		played.Files = append(played.Files, f, txtar.File{Name: parts[0] + ".out", Data: []byte(out.String())})
	}
	return played
}

// act writes one object and shows what became of it.
func act(t *testing.T, s *state.State, verb, sub, doc string, told *state.Remarks) string {
	kind, obj := read(t, s, doc)
	if kind.Namespaced && obj.GetNamespace() == "" {
		obj.SetNamespace("default")
	}
	var stored state.Object
	var err error
	switch verb {
	case "create":
		stored, err = s.Create(t.Context(), kind, obj, state.CreateOptions{Remarks: told})
		if _, isNamespace := stored.(*corev1.Namespace); isNamespace && err == nil {
			quietAccount(t, s, obj.GetName())
		}
	case "update":
		stored, _, err = s.Update(t.Context(), kind, obj.GetNamespace(), obj.GetName(), func(state.Object) (state.Object, error) { return obj, nil },
			state.UpdateOptions{Remarks: told, Subresource: sub})
	case "delete":
		stored, _, err = s.Delete(t.Context(), kind, obj.GetNamespace(), obj.GetName(), state.DeleteOptions{Remarks: told})
	default:
		t.Fatalf("what is %q?", verb)
	}
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return show(t, stored)
}

// quietAccount makes a namespace's account as a controller would, except that pods get no volume with a token: it has
// another name each time.
func quietAccount(t *testing.T, s *state.State, namespace string) {
	no := false
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}, AutomountServiceAccountToken: &no}
	if err := state.Delete[*corev1.ServiceAccount](t.Context(), s, namespace, "default", state.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := state.Create(t.Context(), s, account); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s *state.State, doc string) (*resource.Kind, state.Object) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
		t.Fatal(err)
	}
	kind, ok := s.Kinds().Kind(meta.GroupVersionKind())
	if !ok {
		t.Fatalf("no kind %s", meta.GroupVersionKind())
	}
	obj := kind.New()
	if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
		t.Fatal(err)
	}
	return kind, obj
}

// show leaves out what differs each time and what the kinds' own stories are about.
func show(t *testing.T, obj state.Object) string {
	all, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	meta := all["metadata"].(map[string]any)
	for _, key := range []string{"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation", "name", "namespace", "managedFields"} {
		delete(meta, key)
	}
	spec, _ := all["spec"].(map[string]any)
	for _, key := range []string{"dnsPolicy", "enableServiceLinks", "restartPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds", "serviceAccount", "serviceAccountName", "clusterIP", "clusterIPs"} {
		delete(spec, key)
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		delete(p.(map[string]any), "nodePort")
	}
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].([]any)
		for _, c := range containers {
			for _, key := range []string{"imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy", "image"} {
				delete(c.(map[string]any), key)
			}
		}
	}
	if status, ok := all["status"].(map[string]any); ok {
		delete(status, "lastPhaseTransitionTime")
	}
	if kind := all["kind"]; kind == "Pod" {
		delete(all, "status")
	}
	for _, key := range []string{"apiVersion", "kind"} {
		delete(all, key)
	}
	b, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
