package clustertest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"wherry/nodeagent/pod"
	"wherry/nodeagent/runtime"
)

// images are present on every node, as what was pushed says. Others are images of the fake runtime.
type images struct {
	dir string

	mu      sync.Mutex
	modules map[string]string // digest by reference
}

var _ pod.Images = (*images)(nil)

func (i *images) push(ref string, module []byte) error {
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(module))
	if err := os.WriteFile(i.path(digest), module, 0o600); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.modules[ref] = digest
	return nil
}

func (i *images) path(digest string) string {
	return filepath.Join(i.dir, digest[len("sha256:"):]+".wasm")
}

func (i *images) Present(context.Context, string) bool { return true }

func (i *images) Ensure(_ context.Context, ref, _ string, _ [][]byte) (runtime.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	digest, ok := i.modules[ref]
	if !ok {
		return runtime.Image{Ref: ref, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref))), Kind: "fake"}, nil
	}
	return runtime.Image{Ref: ref, Digest: digest, Kind: "wasm", Path: i.path(digest), ContentDigest: digest}, nil
}

func (i *images) InUse(string, []string) {}
