package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wherry/wasm"
	"wherry/wasm/wasmtest"
)

// command runs the command with arguments; {tool} is the guest of wasmtest.
func command(t *testing.T, in string, args ...string) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	c := New(Streams{In: strings.NewReader(in), Out: &o, Err: &e})
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetArgs(append(args[:2:2], append([]string{"--cache-dir", wasmtest.CacheDir(t)}, args[2:]...)...))
	err = c.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	tool := file(t, "tool.wasm", wasmtest.Build(t, "guests/tool"))
	dir := t.TempDir()
	t.Setenv("FROM_HERE", "here")
	tests := map[string]struct {
		in   string
		args []string
		out  string
		err  string // part of standard error
		code int
	}{
		"output":          {args: []string{"--", "print", "hello"}, out: "hello\n"},
		"without dashes":  {args: []string{"print", "hello"}, out: "hello\n"},
		"standard error":  {args: []string{"--", "complain", "hello"}, err: "hello"},
		"standard input":  {in: "typed in", args: []string{"--", "cat"}, out: "typed in"},
		"exit code":       {args: []string{"--", "exit", "42"}, code: 42},
		"environment":     {args: []string{"--env", "A=b=c", "--", "env", "A"}, out: "b=c\n"},
		"from here":       {args: []string{"--env", "FROM_HERE", "--", "env", "FROM_HERE"}, out: "here\n"},
		"nothing of ours": {args: []string{"--", "env", "FROM_HERE"}, out: "\n"},
		"write":           {args: []string{"--dir", dir + ":/data", "--", "write", "/data/file", "x"}},
		"two colons":      {args: []string{"--dir", dir + "::/data", "--", "write", "/data/file", "x"}},
		"read only":       {args: []string{"--dir", dir + ":/data:ro", "--", "write", "/data/file", "y"}, err: "Read-only", code: 1},
		"no directory":    {args: []string{"--", "read", "/etc/passwd"}, err: "tool:", code: 1},
		"memory":          {args: []string{"--memory", "16Mi", "--", "eat"}, err: "OOMKilled: out of memory", code: 137},
		"processor":       {args: []string{"--cpu", "500m", "--", "print", "slowly"}, out: "slowly\n"},
		"interpreted":     {args: []string{"--interpreter", "--", "print", "slowly"}, out: "slowly\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, errOut, err := command(t, test.in, append([]string{"run", tool}, test.args...)...)
			var code ExitCode
			if err != nil && !errors.As(err, &code) || int(code) != test.code {
				t.Errorf("%v, want exit code %d; it said %s", err, test.code, errOut)
			}
			if test.err == "" && out != test.out || !strings.Contains(errOut, test.err) {
				t.Errorf("printed %q, want %q; complained %q, want %q", out, test.out, errOut, test.err)
			}
		})
	}
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "x" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	tool := file(t, "tool.wasm", wasmtest.Trap())
	for want, args := range map[string][]string{
		"--dir x: it takes HOST:GUEST":  {"--dir", "x"},
		"--env =x: it takes NAME=VALUE": {"--env", "=x"},
		"--port needs --net":            {"--port", "80"},
		"--port x: it takes [IP:]PORT":  {"--net", "--port", "x"},
		"--cpu -1 is no amount":         {"--cpu=-1"},
		"--memory 1Ki is no amount":     {"--memory", "1Ki"},
	} {
		if _, _, err := command(t, "", append([]string{"run", tool}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, _, err := command(t, "", "run", file(t, "text", []byte("(module)"))); !errors.Is(err, wasm.ErrNotModule) {
		t.Errorf("text: %v", err)
	}
	if _, errOut, err := command(t, "", "run", tool); !errors.Is(err, ExitCode(134)) || !strings.Contains(errOut, "wherry: Error: tool: unreachable") {
		t.Errorf("a trap: %v, %s", err, errOut)
	}
}

func TestMounts(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{dir + ":/g", dir + "::/g", dir + ":/g:ro"} {
		m, err := mount(v)
		if err != nil || m.Host != dir || m.Guest != "/g" || m.ReadOnly != strings.HasSuffix(v, ":ro") {
			t.Errorf("%s: %+v, %v", v, m, err)
		}
	}
	if runtime.GOOS == "windows" {
		if _, err := mount(`C:\x`); err == nil {
			t.Error("a drive's letter is no HOST")
		}
	}
}

// TestInterrupt: the first signal lets the guest end by itself, the second or the end of the grace period does not.
func TestInterrupt(t *testing.T) {
	module := wasmtest.Endless()["spin"]
	for name, signals := range map[string]int{"once": 1, "twice": 2} {
		t.Run(name, func(t *testing.T) {
			host, err := wasm.New(wasm.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			_, open, err := open(file(t, "endless.wasm", module))
			if err != nil {
				t.Fatal(err)
			}
			m, err := host.Compile(t.Context(), "sha256:endless", open)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Release()
			i, err := host.Start(t.Context(), m, wasm.Spec{Name: "endless"})
			if err != nil {
				t.Fatal(err)
			}
			ch := make(chan os.Signal, 2)
			for range signals {
				ch <- os.Interrupt
			}
			grace := 50 * time.Millisecond
			if signals == 2 {
				grace = time.Hour
			}
			wait(i, ch, grace)
			if code := i.Exit().Code; code != 137 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestStdinIsLetGo: a read that cannot be interrupted does not keep the guest's end.
func TestStdinIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		s := &stdin{source: readerFunc(func([]byte) (int, error) { <-never; return 0, os.ErrClosed })}
		ended := make(chan error)
		go func() {
			_, err := s.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err == nil {
			t.Error("the read goes on")
		}
		close(never)
	})
	unused := &stdin{}
	if err := unused.Close(); err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestInspect(t *testing.T) {
	tool := file(t, "tool.wasm", wasmtest.Build(t, "guests/tool"))
	out, _, err := command(t, "", "inspect", tool)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"yes, by the", "cmd/compile", "_start", "Sockets:", "preview 1",
		"wasi_snapshot_preview1.fd_write", "func (i32, i32, i32, i32) -> (i32)", "no maximum",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	out, _, err = command(t, "", "inspect", file(t, "component", []byte("\x00asm\x0d\x00\x01\x00")), "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if v.Runs || !strings.Contains(v.Reason, "component") {
		t.Errorf("a component: %+v", v)
	}
}
