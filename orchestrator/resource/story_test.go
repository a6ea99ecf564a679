package resource

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what comes out into the stories")

// TestStories runs testdata/*.txtar. A story is a sequence of files, each named by what happens and,
// behind a slash, by a few words:
//
//	create/WORDS        the YAML is created
//	update/WORDS        the YAML replaces what the last create or update left
//	status/WORDS ...    the same through a subresource
//	taken               claims that others hold from here on, one a line
//	object              what must have come out
//	row                 its row, cells separated by |
//	errors, warnings    what must have been said, one a line, errors sorted; nothing came out if there were errors.
//	                    That nobody acts on the object yet is left out
//
// Files of the last three lines must follow the step that they judge. A step without "errors" must go well.
// It is midnight before the first of January 2000.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runStory(t, file) })
		})
	}
}

func runStory(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{kinds: NewWith(Options{ServiceCIDR: netip.MustParsePrefix("10.43.0.0/30"), NodePorts: [2]int32{30000, 30002}})}
	for i := range archive.Files {
		s.step(t, &archive.Files[i])
	}
	s.checkErrors(t)
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type story struct {
	kinds  *Registry
	taken  []string
	name   string
	kind   *Kind
	obj    Object
	errs   []string // not judged yet
	warned []string
}

func (s *story) step(t *testing.T, f *txtar.File) {
	t.Helper()
	verb, _, _ := strings.Cut(f.Name, "/")
	switch verb {
	case "taken":
		s.taken = lines(string(f.Data))
	case "object":
		s.judge(t, f, s.yaml(t))
	case "row":
		s.judge(t, f, s.row())
	case "errors":
		s.judge(t, f, text(s.errs))
		s.errs = nil
	case "warnings":
		s.judge(t, f, text(s.warned))
	default:
		s.checkErrors(t)
		s.name = f.Name
		s.do(t, verb, f.Data)
	}
}

func (s *story) checkErrors(t *testing.T) {
	t.Helper()
	if len(s.errs) > 0 {
		t.Errorf("%s:\n%s", s.name, text(s.errs))
		s.errs = nil
	}
}

func (s *story) judge(t *testing.T, f *txtar.File, got string) {
	t.Helper()
	if *update {
		f.Data = []byte(got)
	} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
		t.Errorf("%s: %s: want (-), got (+):\n%s", s.name, f.Name, diff)
	}
}

func (s *story) do(t *testing.T, verb string, data []byte) {
	t.Helper()
	decoded, _, err := serializer.NewCodecFactory(s.kinds.Scheme()).UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	obj := decoded.(Object)
	kind, ok := s.kinds.For(obj)
	if !ok {
		t.Fatalf("%s: %T is not served", s.name, obj)
	}
	s.kinds.Default(kind, obj)
	if verb == "create" {
		s.create(kind, obj)
	} else {
		s.update(t, kind, verb, obj)
	}
}

func (s *story) create(k *Kind, obj Object) {
	k.PrepareForCreate(obj)
	s.finish(k, obj, nil, k.Validate)
}

func (s *story) update(t *testing.T, k *Kind, door string, obj Object) {
	t.Helper()
	prepare, validate := k.PrepareForUpdate, k.ValidateUpdate
	if door != "update" {
		sub, ok := k.Subresources[door]
		if !ok {
			t.Fatalf("%s: no subresource", s.name)
		}
		prepare, validate = sub.PrepareForUpdate, sub.ValidateUpdate
	}
	old := s.obj.DeepCopyObject().(Object)
	before := old.DeepCopyObject()
	obj.SetResourceVersion("1")
	prepare(obj, old)
	s.finish(k, obj, old, func(obj Object) field.ErrorList { return validate(obj, old) })
	if diff := cmp.Diff(before, runtime.Object(old)); diff != "" {
		t.Errorf("%s: the old object was changed:\n%s", s.name, diff)
	}
}

func (s *story) finish(k *Kind, obj, old Object, validate func(Object) field.ErrorList) {
	if k.Allocate != nil {
		err := k.Allocate(obj, old, func(claim string) bool { return slices.Contains(s.taken, claim) })
		if err != nil {
			s.errs = append(s.errs, err.Error())
			return
		}
	}
	if errs := validate(obj); len(errs) > 0 {
		status := apierrors.NewInvalid(schema.GroupKind{Group: k.Group, Kind: k.Kind}, obj.GetName(), errs)
		for _, c := range status.ErrStatus.Details.Causes {
			s.errs = append(s.errs, fmt.Sprintf("%s: %s: %s", c.Type, c.Field, c.Message))
		}
		slices.Sort(s.errs) // validation walks over maps
		return
	}
	s.warned = nil
	if k.Warnings != nil {
		s.warned = slices.DeleteFunc(k.Warnings(obj, old), func(w string) bool { return strings.HasPrefix(w, notActedOn) })
	}
	obj.SetResourceVersion("1")
	s.kind, s.obj = k, obj
}

func (s *story) yaml(t *testing.T) string {
	t.Helper()
	obj := s.obj.DeepCopyObject().(Object)
	obj.SetResourceVersion("")
	b, err := yaml.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	out := string(b)
	if s.kind.Claims != nil {
		out += "# claims: " + strings.Join(s.kind.Claims(obj), " ") + "\n"
	}
	return out
}

func (s *story) row() string {
	var cells []string
	for _, c := range s.kind.Row(s.obj) {
		cells = append(cells, fmt.Sprint(c))
	}
	return strings.Join(cells, " | ") + "\n"
}

func text(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
