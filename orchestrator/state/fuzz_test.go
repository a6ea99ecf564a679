package state

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
)

// A continue token comes from clients: it is refused or means what it says.
func FuzzContinue(f *testing.F) {
	f.Add(encodeContinue(7, "default/a"))
	f.Add(token{tokenVersion, -1, "a/b"}.String())
	f.Add("e30")
	f.Add("?")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := decodeContinue(s)
		if err != nil {
			return
		}
		if p.after == "" || p.newest == (p.exact != 0) || p.exact != p.atLeast {
			t.Errorf("%q became %+v", s, p)
		}
	})
}

// Bytes in the store may be damaged: they are refused, or can be shown in every form.
func FuzzEntry(f *testing.F) {
	k, _ := resource.New().For((*corev1.ConfigMap)(nil))
	table := newTable(k, &encodings{budget: 1 << 20})
	good, err := table.as.Load().codec.encode(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", Labels: map[string]string{"c": "d"}},
		Data:       map[string]string{"k": "v"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte(`{"metadata":{"namespace":"a","name":"b"}}`))
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := table.entry("a/b", data, 9)
		if err != nil {
			return
		}
		if e.Object().GetResourceVersion() != "9" || e.Name() != "b" || len(e.JSON()) == 0 {
			t.Errorf("entry of %q: %+v", data, e.Object())
		}
		if p := e.Proto(); bytes.HasPrefix(data, magic) != (p != nil) {
			t.Errorf("protobuf of %q: %q", data, p)
		} else if p != nil {
			again, err := table.as.Load().codec.decode(p)
			if err != nil || again.GetResourceVersion() != "9" {
				t.Errorf("protobuf of %q does not decode: %v", data, err)
			}
		}
	})
}
