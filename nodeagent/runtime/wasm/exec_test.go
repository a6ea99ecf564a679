package wasm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/wasm/wasmtest"
)

// serving starts a container that serves until it is stopped.
func serving(t *testing.T, change func(*runtime.Spec)) (*Driver, runtime.ID) {
	t.Helper()
	d := newDriver(newHost(t))
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	s := runtime.Spec{
		ID:    runtime.ID{Pod: "uid", Container: "app"},
		Image: image(t, "tool", wasmtest.Build(t, "guests/tool")), Args: []string{"serve"},
		Ports: []runtime.Port{{Port: 80}}, LogPath: filepath.Join(t.TempDir(), "0.log"),
	}
	change(&s)
	if err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return d, s.ID
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string][]byte{"trap.wasm": wasmtest.Trap(), "text.wasm": []byte("(module)"), "note": []byte("a note"), "hungry.wasm": wasmtest.Hungry()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, id := serving(t, func(s *runtime.Spec) {
		s.Mounts = []runtime.Mount{{Host: dir, Guest: "/data"}}
		s.Args, s.Env = []string{"serve", "4"}, []string{"GREETING=hello"}
		s.Dir, s.MemoryBytes = "/data", 64<<20
	})
	for name, test := range map[string]struct {
		command          []string
		code             int
		output, warnings string
	}{
		"its own":         {[]string{"tool", "print", "one"}, 0, "one\n", ""},
		"environment":     {[]string{"tool", "env", "GREETING"}, 0, "hello\n", ""},
		"files":           {[]string{"tool", "read", "/data/note"}, 0, "a note", ""},
		"standard error":  {[]string{"tool", "complain", "two"}, 0, "", "two\n"},
		"code":            {[]string{"tool", "exit", "5"}, 5, "", ""},
		"another trap":    {[]string{"/data/trap.wasm"}, 134, "", "unreachable"},
		"relative":        {[]string{"./trap.wasm"}, 134, "", "unreachable"},
		"within memory":   {[]string{"hungry.wasm"}, 137, "", "the limit is 65536 KiB"},
		"no module":       {[]string{"/data/text.wasm"}, 126, "", "text format"},
		"no file":         {[]string{"/data/none.wasm"}, 127, "", "/data/none.wasm: "},
		"no shell":        {[]string{"sh", "-c", "ls"}, 127, "", "sh: not found: a Wasm container has no programs but its own, tool, and"},
		"a directory":     {[]string{"test", "-d", "/data"}, 0, "", ""},
		"an archive":      {[]string{"tar", "cf", "-", "nothing"}, 2, "", "tar: nothing: Cannot stat"},
		"not the outside": {[]string{"../" + dir + "/trap.wasm"}, 127, "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var output, warnings bytes.Buffer
			code, err := d.Exec(t.Context(), id, test.command, runtime.Console{Stdout: &output, Stderr: &warnings})
			if err != nil || code != test.code {
				t.Errorf("code %d, %v", code, err)
			}
			if name != "an archive" && output.String() != test.output || !strings.Contains(warnings.String(), test.warnings) {
				t.Errorf("output %q, %q", output.String(), warnings.String())
			}
		})
	}
	if _, err := d.Exec(t.Context(), id, []string{"tool"}, runtime.Console{TTY: true}); !errors.Is(err, ErrTerminal) {
		t.Errorf("with a terminal: %v", err)
	}
	if cpu, memory := d.find(id).instance.Usage(); cpu == 0 || memory == 0 || memory > 32<<20 {
		t.Errorf("the container has used %v and %d bytes", cpu, memory)
	}
}

func TestExecEndsWithTheContainer(t *testing.T) {
	d, id := serving(t, func(*runtime.Spec) {})
	started := &signal{ch: make(chan struct{})}
	ended := make(chan int, 1)
	go func() {
		code, _ := d.Exec(t.Context(), id, []string{"tool", "sleep", "1h"}, runtime.Console{Stdout: started})
		ended <- code
	}()
	<-started.ch
	if err := d.Stop(t.Context(), id, time.Minute); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 137 {
		t.Errorf("code %d", code)
	}
}

// signal is closed by the first write.
type signal struct {
	once sync.Once
	ch   chan struct{}
}

func (s *signal) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.ch) })
	return len(b), nil
}

func TestAttachStdin(t *testing.T) {
	for name, once := range map[string]bool{"stays open": false, "once": true} {
		t.Run(name, func(t *testing.T) {
			d, id := serving(t, func(s *runtime.Spec) { s.Args, s.Ports, s.Stdin, s.StdinOnce = []string{"cat"}, nil, true, once })
			for i, text := range []string{"first", "second"} {
				if once && i == 1 {
					break
				}
				from, to := io.Pipe()
				out, echo := io.Pipe()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- d.Attach(ctx, id, runtime.Console{Stdin: from, Stdout: echo}) }()
				if _, err := io.WriteString(to, text); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(text))
				if _, err := io.ReadFull(out, got); err != nil || string(got) != text {
					t.Errorf("%q, %v", got, err)
				}
				_ = to.Close() // a pipe never fails to close
				if once {
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
				cancel()
				if !once {
					if err := <-ended; !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
			}
			if once {
				<-d.find(id).done
				return
			}
			if status := d.find(id).status; status.State != runtime.Running {
				t.Errorf("it is %s", status.State)
			}
		})
	}
}

func TestAttachDoesNotHoldTheGuest(t *testing.T) {
	d, id := serving(t, func(s *runtime.Spec) { s.Args, s.Ports = []string{"flood"}, nil })
	block := make(chan struct{})
	defer close(block)
	ended := make(chan error, 1)
	go func() {
		ended <- d.Attach(t.Context(), id, runtime.Console{Stdout: writer(func(b []byte) (int, error) { <-block; return len(b), nil })})
	}()
	if err := d.Stop(t.Context(), id, 0); err != nil { // within the patience
		t.Fatal(err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
