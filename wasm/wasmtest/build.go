// Package wasmtest has guests to test hosts with: modules assembled by hand, Go programs under guests/
// that Build compiles, and what they must do.
package wasmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

var builds sync.Map // package -> func() ([]byte, error)

// Build compiles a Go package for wasip1 and returns the module, once per test binary. A relative path is
// relative to the folder of this package, so that guests/cpu is one from everywhere.
func Build(t testing.TB, pkg string) []byte {
	t.Helper()
	if !filepath.IsAbs(pkg) {
		_, file, _, _ := runtime.Caller(0)
		pkg = filepath.Join(filepath.Dir(file), pkg)
	}
	build, _ := builds.LoadOrStore(pkg, sync.OnceValues(func() ([]byte, error) { return build(pkg) }))
	wasm, err := build.(func() ([]byte, error))()
	if err != nil {
		t.Fatalf("building the guest %s: %v", pkg, err)
	}
	return wasm
}

func build(dir string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "wasmtest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "guest.wasm")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text.Bytes())
	}
	return os.ReadFile(out)
}

// CacheDir is where tests keep compiled code from one run to the next, for it is slow to make, above all with
// the race detector. Its files are named by what is in them.
func CacheDir(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "wherry-wasmtest")
}
