package wasm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wherry/wasm/wasip1"
	"wherry/wasm/wasmtest"
)

// buffer is an output that tests can wait on.
type buffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func newBuffer() *buffer { return &buffer{changed: make(chan struct{}, 1)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await waits until the output has the text.
func (b *buffer) await(text string) {
	for !strings.Contains(b.String(), text) {
		<-b.changed
	}
}

// loopback is a Network of the machine's own loopback, on any port.
type loopback struct {
	wasip1.Network
	listening chan string
}

func (l loopback) Listen(ctx context.Context, network string, _ netip.AddrPort) (net.Listener, error) {
	var c net.ListenConfig
	nl, err := c.Listen(ctx, network, "127.0.0.1:0")
	if err == nil {
		l.listening <- nl.Addr().String()
	}
	return nl, err
}

func newHost(t testing.TB) *Host {
	t.Helper()
	h, err := New(Config{CacheDir: wasmtest.CacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func compile(t testing.TB, h *Host, name string, wasm []byte) *Module {
	t.Helper()
	m, err := h.Compile(t.Context(), name, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wasm)), nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Release)
	return m
}

func TestTool(t *testing.T) {
	h := newHost(t)
	m := compile(t, h, "tool", wasmtest.Build(t, "guests/tool"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	mounts := []wasip1.Mount{{Host: dir, Guest: "/data", ReadOnly: true}}
	tests := map[string]struct {
		spec    Spec
		want    Exit
		output  string // contained in standard output and error
		message string // contained in the exit's message
	}{
		"print":      {Spec{Args: []string{"tool", "print", "hello"}}, Exit{Reason: Completed}, "hello\n", ""},
		"complain":   {Spec{Args: []string{"tool", "complain", "so"}}, Exit{Reason: Completed}, "so\n", ""},
		"exit":       {Spec{Args: []string{"tool", "exit", "3"}}, Exit{Code: 3, Reason: Error}, "", ""},
		"stdin":      {Spec{Args: []string{"tool", "cat"}, Stdin: strings.NewReader("typed")}, Exit{Reason: Completed}, "typed", ""},
		"env":        {Spec{Args: []string{"tool", "env", "A"}, Env: []string{"A=b"}}, Exit{Reason: Completed}, "b\n", ""},
		"file":       {Spec{Args: []string{"tool", "read", "/data/file"}, Mounts: mounts}, Exit{Reason: Completed}, "from the host", ""},
		"read only":  {Spec{Args: []string{"tool", "write", "/data/new", "x"}, Mounts: mounts}, Exit{Code: 1, Reason: Error}, "tool: open", ""},
		"nothing":    {Spec{Args: []string{"tool", "read", "/etc/passwd"}}, Exit{Code: 1, Reason: Error}, "tool: open", ""},
		"panic":      {Spec{Args: []string{"tool", "panic"}}, Exit{Code: 2, Reason: Error}, "at the guest's request", ""},
		"out of mem": {Spec{Args: []string{"tool", "eat"}, MemoryBytes: 32 << 20}, Exit{Code: 137, Reason: OOMKilled}, "out of memory", "limit is 32768 KiB"},
		"sleep":      {Spec{Args: []string{"tool", "sleep", "1ms"}}, Exit{Reason: Completed}, "sleeping", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out := newBuffer()
			test.spec.Stdout, test.spec.Stderr = out, out
			i, err := h.Start(t.Context(), m, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			<-i.Done()
			got := i.Exit()
			if !strings.Contains(got.Message, test.message) || (got.Message == "") != (test.message == "") {
				t.Errorf("message %q", got.Message)
			}
			if got.Message = ""; got != test.want {
				t.Errorf("ended with %+v", got)
			}
			if !strings.Contains(out.String(), test.output) {
				t.Errorf("output %q", out.String())
			}
		})
	}
}

func TestKill(t *testing.T) {
	h := newHost(t)
	m := compile(t, h, "tool", wasmtest.Build(t, "guests/tool"))
	for name, args := range map[string][]string{
		"spinning": {"tool", "spin"}, "sleeping": {"tool", "sleep", "1h"}, "serving": {"tool", "serve"},
	} {
		t.Run(name, func(t *testing.T) {
			out := newBuffer()
			i, err := h.Start(t.Context(), m, Spec{Args: args, Stdout: out, Stderr: out,
				Network: loopback{listening: make(chan string, 1)}, Listen: []wasip1.Address{{Network: "tcp"}}})
			if err != nil {
				t.Fatal(err)
			}
			out.await(name)
			if cpu, memory := i.Usage(); cpu <= 0 || memory <= 0 {
				t.Errorf("it uses %v and %d bytes", cpu, memory)
			}
			begin := time.Now()
			i.Kill()
			<-i.Done()
			if took := time.Since(begin); took > 5*time.Second { // 100 ms on a quiet machine
				t.Errorf("took %v", took)
			}
			if got := i.Exit(); got != (Exit{Code: 137, Reason: Error}) {
				t.Errorf("ended with %+v", got)
			}
		})
	}
}

func TestServeAndTerminate(t *testing.T) {
	h := newHost(t)
	m := compile(t, h, "tool", wasmtest.Build(t, "guests/tool"))
	network := loopback{listening: make(chan string, 1)}
	out := newBuffer()
	i, err := h.Start(t.Context(), m, Spec{Args: []string{"tool", "serve"}, Stdout: out, Stderr: out,
		Network: network, Listen: []wasip1.Address{{Network: "tcp"}}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", <-network.listening)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "you\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello you\n" {
		t.Errorf("answer %q, %v", line, err)
	}
	i.Terminate()
	<-i.Done()
	if got := i.Exit(); got.Code != 0 || !strings.Contains(out.String(), "served:") {
		t.Errorf("ended with %+v, %s", got, out)
	}
}

func TestStartErrors(t *testing.T) {
	h := newHost(t)
	m := compile(t, h, "nothing", wasmtest.Nothing())
	if _, err := h.Start(t.Context(), m, Spec{Mounts: []wasip1.Mount{{Host: "/does/not/exist", Guest: "/"}}}); err == nil {
		t.Error("a mount that does not exist was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Start(ctx, m, Spec{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestCloseKills(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := compile(t, h, "spin", wasmtest.Endless()["spin"])
	i, err := h.Start(t.Context(), m, Spec{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	<-i.Done()
	if i.Exit().Code != 137 {
		t.Errorf("ended with %+v", i.Exit())
	}
	if _, err := h.Start(t.Context(), m, Spec{}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
}
