package main_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/runtime"
	"wherry/wasm/wasmtest"
)

// module is an image that is a Wasm module on this machine.
type module struct {
	images
	runtime.Image
}

func (m module) Ensure(_ context.Context, ref, _ string, _ [][]byte) (runtime.Image, error) {
	i := m.Image
	i.Ref = ref
	return i, nil
}

func newModule(t *testing.T, guest []byte) *module {
	path := filepath.Join(t.TempDir(), "guest.wasm")
	if err := os.WriteFile(path, guest, 0o600); err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(guest))
	return &module{Image: runtime.Image{Digest: digest, Kind: "wasm", Path: path, ContentDigest: digest}}
}

// Wasm guests in a whole agent: one ends well, one traps.
func TestWasmGuests(t *testing.T) {
	for _, tt := range []struct {
		name, want, message string
		guest               []byte
	}{
		{"nothing", "Succeeded false/0", "", wasmtest.Nothing()},
		{"trap", "Failed false/0", "unreachable", wasmtest.Trap()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, p *plane) {
				m := newMachine(p, "n1")
				m.halt()
				m.wasm = newModule(t, tt.guest)
				m.boot()
				defer m.halt()
				time.Sleep(time.Second)
				create(p, &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
					Spec: corev1.PodSpec{
						NodeName: "n1", RestartPolicy: corev1.RestartPolicyNever,
						Containers: []corev1.Container{{Name: "app", Image: "hello:v1"}},
					},
				})
				time.Sleep(time.Second)
				p.wantPod("web", tt.want)
				if end := p.get("web").Status.ContainerStatuses[0].State.Terminated; tt.message != "" && !strings.Contains(end.Message, tt.message) {
					t.Errorf("message %q", end.Message)
				}
				p.delete("web", 5)
				time.Sleep(10 * time.Second)
				p.wantPod("web", "-")
			})
		})
	}
}
