package services

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the expected tables in testdata")

// TestStories builds the table of each testdata/*.txtar: objects in YAML in, routes and
// names out.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			story, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := show(Build(read(t, story.Files[0].Data)))
			if *update {
				story.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(story), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(story.Files[1].Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, data []byte) Input {
	t.Helper()
	in := Input{Node: "here", Domain: "cluster.local"}
	for doc := range strings.SplitSeq(string(data), "---\n") {
		var kind metav1.TypeMeta
		must(t, yaml.Unmarshal([]byte(doc), &kind))
		switch kind.Kind {
		case "Service":
			s := &corev1.Service{}
			must(t, yaml.UnmarshalStrict([]byte(doc), s))
			in.Services = append(in.Services, s)
		case "EndpointSlice":
			s := &discoveryv1.EndpointSlice{}
			must(t, yaml.UnmarshalStrict([]byte(doc), s))
			in.Slices = append(in.Slices, s)
		case "Pod":
			p := &corev1.Pod{}
			must(t, yaml.UnmarshalStrict([]byte(doc), p))
			in.Pods = append(in.Pods, p)
		default:
			t.Fatalf("what is a %q?", kind.Kind)
		}
	}
	return in
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func show(t *Table) string {
	var lines []string
	for f, r := range t.cluster {
		lines = append(lines, fmt.Sprintf("%s %s -> %s", f.Network, f.Addr, showRoute(r)))
	}
	for f, r := range t.host {
		bind := "*"
		if f.Addr.IsValid() {
			bind = f.Addr.String()
		}
		lines = append(lines, fmt.Sprintf("%s %s:%d -> %s", f.Network, bind, f.Port, showRoute(r)))
	}
	slices.Sort(lines)
	for _, name := range slices.Sorted(maps.Keys(t.names)) {
		n := t.names[name]
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s = %v %s %v", name, n.Addrs, n.CNAME, n.SRV)))
	}
	return strings.Join(lines, "\n") + "\n"
}

func showRoute(r *Route) string {
	var all []string
	for _, e := range r.Endpoints {
		all = append(all, e.Addr.String())
	}
	line := strings.Join(all, " ")
	if r.Affinity > 0 {
		line += fmt.Sprintf(" (affinity %s)", r.Affinity)
	}
	return strings.TrimSpace(line)
}

func BenchmarkBuild(b *testing.B) {
	var in Input
	for i := range 1000 {
		name := fmt.Sprint("s", i)
		port := int32(8080)
		in.Services = append(in.Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.43.%d.%d", i/250, i%250+1), Ports: []corev1.ServicePort{{Port: 80}}}})
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			Ports: []discoveryv1.EndpointPort{{Port: &port}}}
		for j := range 10 {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.%d.%d", i/25, i%25*10+j)}})
		}
		in.Slices = append(in.Slices, slice)
	}
	for b.Loop() {
		Build(in)
	}
}
