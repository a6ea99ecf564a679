// Package story tells stories from outside: scripts that read like a terminal, with the built commands, unmodified
// clients and real processes. It is for tests.
//
//	story.go     Run: builds the commands, runs the scripts of a folder
//	commands.go  what scripts can do beside running programs
//	process.go   programs in the background, which all end with the story
package story

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run tells the stories in the folder testdata. root is the folder of our go.mod, from here.
func Run(t *testing.T, root string) {
	if testing.Short() {
		t.Skip("builds the commands and starts clusters")
	}
	if runtime.GOOS == "windows" {
		t.Skip("the stories interrupt processes")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	bin := Build(t, root)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Setup:              func(e *testscript.Env) error { return setup(e, root, bin) },
		Cmds:               commands,
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// Build builds the commands and the samples' guests, and returns the folder that they are in. root is the folder of our
// go.mod.
func Build(t *testing.T, root string) string {
	t.Helper()
	bin := t.TempDir()
	build(t, root, bin, []string{"CGO_ENABLED=0"}, "wherry/cmd/wherry", "wherry/cmd/wherryd", "wherry/cmd/wherry-agent")
	for _, guest := range []string{"hello", "console", "udpecho", "cgi"} {
		build(t, root, filepath.Join(bin, guest+".wasm"), []string{"GOOS=wasip1", "GOARCH=wasm"}, "wherry/samples/"+guest)
	}
	return bin
}

// condition: [mount] says whether a story can have a disk of its own.
func condition(name string) (bool, error) {
	if name == "mount" {
		return canMount(), nil
	}
	return false, fmt.Errorf("unknown condition %s", name)
}

// build uses the build cache of `go build ./...` without cgo.
func build(t *testing.T, root, to string, env []string, packages ...string) {
	t.Helper()
	c := exec.Command("go", append([]string{"build", "-ldflags", "-s -w", "-o", to}, packages...)...)
	c.Dir = root
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building %v: %v\n%s", packages, err, out)
	}
}

// setup gives a story its environment: BIN with our commands and guests, SAMPLES, and HOST1
// to HOST3, the addresses on which its nodes open their node ports.
func setup(e *testscript.Env, root, bin string) error {
	e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
	e.Setenv("BIN", bin)
	e.Setenv("SAMPLES", filepath.Join(root, "samples"))
	e.Setenv("HOME", e.WorkDir) // kubectl keeps caches there
	hosts(e)
	s := &story{t: e.T().(testing.TB), dir: e.WorkDir}
	e.Values[storyKey{}] = s
	e.Defer(s.end)
	return nil
}

var (
	stories atomic.Int32
	only    sync.Mutex
)

// hosts keeps the node ports of stories that run at once apart: the manifests ask for the
// same ones. Linux has all of 127.0.0.0/8; elsewhere one story runs at a time.
func hosts(e *testscript.Env) {
	linux := runtime.GOOS == "linux"
	if !linux {
		only.Lock()
		e.Defer(only.Unlock)
	}
	pid, n := os.Getpid(), int(stories.Add(1))
	for i := range 3 {
		address := "127.0.0.1"
		if linux {
			address = fmt.Sprintf("127.%d.%d.%d", 1+pid>>8%254, pid%256, n*3+i)
		}
		e.Setenv(fmt.Sprintf("HOST%d", i+1), address)
	}
}
