// Package samples_test tells the stories in testdata: what a user does, from outside, with
// the built commands and the unmodified kubectl.
package samples_test

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
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// TestMain makes the test binary kubectl too: scripts run it as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kubectl": kubectl})
}

func kubectl() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

func TestStories(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the commands and starts clusters")
	}
	if runtime.GOOS == "windows" {
		t.Skip("the stories interrupt processes")
	}
	bin := t.TempDir()
	build(t, bin, []string{"CGO_ENABLED=0"}, "wherry/cmd/wherry", "wherry/cmd/wherryd", "wherry/cmd/wherry-agent")
	for _, guest := range []string{"hello", "console", "udpecho"} {
		build(t, filepath.Join(bin, guest+".wasm"), []string{"GOOS=wasip1", "GOARCH=wasm"}, "wherry/samples/"+guest)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		Setup:              func(e *testscript.Env) error { return setup(e, bin) },
		Cmds:               commands,
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// condition: [mount] says whether a story can have a disk of its own.
func condition(name string) (bool, error) {
	if name == "mount" {
		return canMount(), nil
	}
	return false, fmt.Errorf("unknown condition %s", name)
}

// build uses the build cache of `go build ./...` without cgo.
func build(t *testing.T, to string, env []string, packages ...string) {
	t.Helper()
	c := exec.Command("go", append([]string{"build", "-ldflags", "-s -w", "-o", to}, packages...)...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building %v: %v\n%s", packages, err, out)
	}
}

// setup gives a story its environment: BIN with our commands and guests, SAMPLES, and HOST1
// to HOST3, the addresses on which its nodes open their node ports.
func setup(e *testscript.Env, bin string) error {
	samples, err := os.Getwd()
	if err != nil {
		return err
	}
	e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
	e.Setenv("BIN", bin)
	e.Setenv("SAMPLES", samples)
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
