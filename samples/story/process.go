package story

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// stopping is how long a process may take from an interrupt to its end.
const stopping = 40 * time.Second

// story is what a script has started and must end.
type story struct {
	t         testing.TB
	dir       string
	processes []*process // in the order of their start
	held      map[string]io.Closer
}

type storyKey struct{}

func of(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// process is a program in the background. Its output is in NAME.out and NAME.log.
type process struct {
	name    string
	command *exec.Cmd
	ended   chan struct{}
	err     error // how it ended, once ended is closed
}

// start runs a program in the folder of the story with the given environment.
func (s *story) start(name string, env []string, path string, args ...string) error {
	p := &process{name: name, command: exec.Command(path, args...), ended: make(chan struct{})}
	p.command.Dir, p.command.Env = s.dir, env
	out, err := os.Create(s.file(name + ".out"))
	if err != nil {
		return err
	}
	defer out.Close() // the process has its own descriptor
	log, err := os.Create(s.file(name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.command.Stdout, p.command.Stderr = out, log
	if err := p.command.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	go func() { // end, interrupt and crash wait for it
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return nil
}

func (s *story) file(name string) string { return filepath.Join(s.dir, name) }

// process finds what was started under a name.
func (s *story) process(name string) (*process, error) {
	i := slices.IndexFunc(s.processes, func(p *process) bool { return p.name == name })
	if i < 0 {
		return nil, fmt.Errorf("nothing was started as %s", name)
	}
	return s.processes[i], nil
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// interrupt asks the process to end and waits for it. One that takes too long is killed.
func (p *process) interrupt() error {
	if err := p.command.Process.Signal(os.Interrupt); err != nil && p.running() {
		return fmt.Errorf("interrupting %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopping):
		return fmt.Errorf("%s did not end within %s of an interrupt (%w)", p.name, stopping, p.crash())
	}
	if p.err != nil {
		return fmt.Errorf("%s ended badly: %w", p.name, p.err)
	}
	return nil
}

// crash kills the process, which gets no chance to do anything, and waits for it.
func (p *process) crash() error {
	err := p.command.Process.Kill()
	<-p.ended
	return err
}

// end stops what still runs, the newest first, and shows what all of it said if the story
// has failed.
func (s *story) end() {
	for _, p := range slices.Backward(s.processes) {
		if !p.running() {
			continue
		}
		if err := p.interrupt(); err != nil {
			s.t.Error(err)
		}
	}
	for name, c := range s.held {
		if err := c.Close(); err != nil {
			s.t.Errorf("releasing %s: %v", name, err)
		}
	}
	if !s.t.Failed() {
		return
	}
	for _, p := range s.processes {
		log, err := os.ReadFile(s.file(p.name + ".log"))
		s.t.Logf("%s said (%v):\n%s", p.name, err, log)
	}
}

// Up starts a one-machine cluster of the built commands, which ends with the test, and returns the path of the
// administrator's kubeconfig. root is the folder of our go.mod.
func Up(t *testing.T, root string) string {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, dir: t.TempDir()}
	t.Cleanup(s.end)
	err = s.start("up", os.Environ(), filepath.Join(Build(t, root), "wherryd"), "up", "--data-dir", "data", "--listen", "127.0.0.1:0",
		"--node-name", "first", "--node-port-address", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		out, err := os.ReadFile(s.file("up.out"))
		if err == nil && strings.HasPrefix(string(out), "ready: ") {
			return s.file("data/admin.kubeconfig")
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the cluster is not ready: %s, %v", out, err)
		}
	}
}
