package wasm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wherry/wasm/wasip1"
	"wherry/wasm/wasmtest"
)

// neighbour is a guest of another tenant that answers over one connection.
type neighbour struct {
	conn    net.Conn
	answers *bufio.Reader
}

func newNeighbour(t *testing.T, h *Host, tool *Module) *neighbour {
	t.Helper()
	l := loopback{listening: make(chan string, 1)}
	i, err := h.Start(t.Context(), tool, Spec{
		Tenant: "neighbour", Name: "neighbour", Args: []string{"tool", "serve"},
		Network: l, Listen: []wasip1.Address{{Network: "tcp"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Kill(); <-i.Done() })
	conn, err := net.Dial("tcp", <-l.listening)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &neighbour{conn, bufio.NewReader(conn)}
}

// ask asks so often, and says how long the answers took.
func (n *neighbour) ask(t *testing.T, times int) string {
	t.Helper()
	took := make([]time.Duration, 0, times)
	for i := range times {
		begin := time.Now()
		if _, err := fmt.Fprintln(n.conn, i); err != nil {
			t.Fatal(err)
		}
		answer, err := n.answers.ReadString('\n')
		if err != nil || answer != fmt.Sprintln("hello", i) {
			t.Fatalf("the neighbour answered %q, %v", answer, err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return fmt.Sprintf("median %v, longest %v", took[times/2], took[times-1])
}

// TestHostileGuests runs guests that each attack one limit, and asks a neighbour while they do. Those that never end are
// killed; the others end as they must.
func TestHostileGuests(t *testing.T) {
	h := newHost(t)
	tool := compile(t, h, "tool", wasmtest.Build(t, "guests/tool"))
	dir := t.TempDir()
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	type attack struct {
		module *Module
		args   []string
		memory int64
		want   Exit   // Code 137 and Error: it has to be killed
		says   string // part of its message or output
	}
	killed := Exit{Code: 137, Reason: Error}
	starved := Exit{Code: 137, Reason: OOMKilled}
	attacks := map[string]attack{
		"eats":        {module: tool, args: []string{"eat"}, memory: 32 << 20, want: starved, says: "the limit is 32768 KiB"},
		"floods":      {module: tool, args: []string{"flood"}, want: killed, says: "xxx"},
		"descriptors": {module: tool, args: []string{"open", "/data/file0"}, says: "Too many open files"},
		"recursion": {module: compile(t, h, "recursion", wasmtest.Recursion()), memory: 256 << 20,
			want: Exit{Code: 134, Reason: Error}, says: "stack overflow"},
		"recursion's memory": {module: compile(t, h, "recursion", wasmtest.Recursion()), memory: 4 << 20, want: starved, says: "4096 KiB"},
		"grows":              {module: compile(t, h, "hungry", wasmtest.Hungry()), memory: 16 << 20, want: starved, says: "16384 KiB"},
	}
	for name, module := range wasmtest.Endless() {
		attacks["endless "+name] = attack{module: compile(t, h, name, module), want: killed}
	}
	n := newNeighbour(t, h, tool)
	t.Logf("the neighbour alone: %s", n.ask(t, 50))
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			out := newBuffer()
			i, err := h.Start(t.Context(), a.module, Spec{
				Tenant: "hostile", Name: "hostile", Args: append([]string{"tool"}, a.args...), Stdout: out, OutputRate: 1 << 20,
				Mounts: []wasip1.Mount{{Host: dir, Guest: "/data"}}, MemoryBytes: a.memory,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the neighbour meanwhile: %s", n.ask(t, 50))
			if a.want == killed {
				out.await(a.says)
				i.Kill()
			}
			<-i.Done()
			got := i.Exit()
			if got.Code != a.want.Code || (got.Reason != a.want.Reason && a.want.Reason != "") {
				t.Errorf("ended with %+v", got)
			}
			if !strings.Contains(got.Message+out.String(), a.says) {
				t.Errorf("it says %s %s", got.Message, out)
			}
		})
	}
}

// TestThreadsAreRefused: neither what starts threads nor what they share is here.
func TestThreadsAreRefused(t *testing.T) {
	h := newHost(t)
	for name, module := range map[string][]byte{
		"spawn":  wasmtest.Module{Imports: []wasmtest.Import{{Module: "wasi", Name: "thread-spawn", Params: []byte{wasmtest.I32}, Results: []byte{wasmtest.I32}}}, Funcs: []wasmtest.Func{{Export: "_start"}}}.Bytes(),
		"shared": []byte("\x00asm\x01\x00\x00\x00\x05\x04\x01\x03\x01\x02"),
	} {
		_, err := h.Compile(t.Context(), name, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(module))), nil })
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
