package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"

	"wherry/orchestrator/apiserver/wire"
)

var proto = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", ResourceVersion: "7"},
		Data:       map[string]string{"a": name},
	}
}

func encode(t *testing.T, obj runtime.Object) []byte {
	t.Helper()
	b, err := runtime.Encode(proto, obj)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var head = wire.Head{Kind: "ConfigMapList", APIVersion: "v1", Meta: metav1.ListMeta{ResourceVersion: "9", Continue: "c"}}

func TestProtobufListIsWhatKubernetesWrites(t *testing.T) {
	for n := range 3 {
		list := &corev1.ConfigMapList{
			TypeMeta: metav1.TypeMeta{Kind: head.Kind, APIVersion: head.APIVersion}, ListMeta: head.Meta}
		var items [][]byte
		for i := range n {
			cm := configMap(string(rune('a' + i)))
			raw, err := wire.Raw(encode(t, cm))
			if err != nil {
				t.Fatal(err)
			}
			items = append(items, raw)
			list.Items = append(list.Items, *cm)
		}
		var got bytes.Buffer
		if err := wire.ProtobufList(&got, head, items); err != nil {
			t.Fatal(err)
		}
		if want := encode(t, list); !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d items:\n got %q\nwant %q", n, got.Bytes(), want)
		}
	}
}

func TestJSONListIsWhatKubernetesWrites(t *testing.T) {
	for n := range 3 {
		list := &corev1.ConfigMapList{
			TypeMeta: metav1.TypeMeta{Kind: head.Kind, APIVersion: head.APIVersion}, ListMeta: head.Meta, Items: []corev1.ConfigMap{}}
		var items [][]byte
		for i := range n {
			cm := configMap(string(rune('a' + i)))
			b, err := json.Marshal(cm)
			if err != nil {
				t.Fatal(err)
			}
			items = append(items, b)
			cm.TypeMeta = metav1.TypeMeta{}
			list.Items = append(list.Items, *cm)
		}
		want, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		bare := wire.NewBare("ConfigMap", "v1")
		if err := wire.JSONList(&got, head, n, func(i int) ([]byte, error) { return bare.Of(items[i]), nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want)+"\n", got.String()); diff != "" {
			t.Errorf("%d items: %s", n, diff)
		}
	}
}

// Events are read back with the official client's own decoder.
func TestProtobufEventsAreReadByTheClient(t *testing.T) {
	var stream bytes.Buffer
	for _, kind := range []string{"ADDED", "MODIFIED"} {
		if err := wire.ProtobufEvent(&stream, kind, encode(t, configMap(kind))); err != nil {
			t.Fatal(err)
		}
	}
	frames := protobuf.LengthDelimitedFramer.NewFrameReader(io.NopCloser(&stream))
	decoder := restwatch.NewDecoder(streaming.NewDecoder(frames, protobuf.NewRawSerializer(scheme.Scheme, scheme.Scheme)), scheme.Codecs.UniversalDeserializer())
	for _, kind := range []watch.EventType{watch.Added, watch.Modified} {
		got, obj, err := decoder.Decode()
		if err != nil || got != kind {
			t.Fatalf("got %v, %v", got, err)
		}
		if name := obj.(*corev1.ConfigMap).Name; name != string(kind) {
			t.Errorf("object %q in event %q", name, kind)
		}
	}
	if _, _, err := decoder.Decode(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v", err)
	}
}

func TestJSONEventIsOneLine(t *testing.T) {
	var got bytes.Buffer
	if err := wire.JSONEvent(&got, "ADDED", []byte(`{"kind":"X"}`)); err != nil {
		t.Fatal(err)
	}
	if want := `{"type":"ADDED","object":{"kind":"X"}}` + "\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

func TestBareLeavesOtherObjectsAlone(t *testing.T) {
	bare := wire.NewBare("ConfigMap", "v1")
	for _, object := range []string{`{}`, `{"apiVersion":"v1","kind":"ConfigMap"}`, `{"kind":"Secret","apiVersion":"v1","a":1}`} {
		if got := string(bare.Of([]byte(object))); got != object {
			t.Errorf("%s became %s", object, got)
		}
	}
}

func TestMetadata(t *testing.T) {
	const begin = `{"kind":"ConfigMap","apiVersion":"v1","metadata":`
	for object, want := range map[string]string{
		begin + `{}}`: `{}`,
		begin + `{"name":"a","labels":{"b":"}\"\\"}},"data":{"c":"}"}}`: `{"name":"a","labels":{"b":"}\"\\"}}`,
		begin + `{"name":"a"`:                               ``,
		`{"kind":"Secret","apiVersion":"v1","metadata":{}}`: ``,
		``: ``,
	} {
		if got := string(wire.Metadata([]byte(object), "ConfigMap", "v1")); got != want {
			t.Errorf("%s: %s, want %s", object, got, want)
		}
	}
}

func TestRawRefusesWhatIsNoEnvelope(t *testing.T) {
	for _, b := range []string{"", "k8s", "{}", "k8s\x00\xff", "k8s\x00\x12\x05ab"} {
		if _, err := wire.Raw([]byte(b)); !errors.Is(err, wire.ErrEnvelope) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func FuzzRaw(f *testing.F) {
	f.Add([]byte("k8s\x00\x12\x01a"))
	b, err := runtime.Encode(proto, configMap("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		raw, err := wire.Raw(b)
		if err == nil && !bytes.Contains(b, raw) {
			t.Errorf("%q is not in %q", raw, b)
		}
	})
}
