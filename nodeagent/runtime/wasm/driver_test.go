package wasm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/runtimetest"
	"wherry/wasm"
	"wherry/wasm/wasip1"
	"wherry/wasm/wasmtest"
)

// loopback is a Network on any port of the machine's own loopback.
type loopback struct{ wasip1.Network }

func (loopback) Listen(ctx context.Context, network string, _ netip.AddrPort) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, network, "127.0.0.1:0")
}

func newHost(t testing.TB) *wasm.Host {
	t.Helper()
	host, err := wasm.New(wasm.Config{CacheDir: wasmtest.CacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return host
}

func newDriver(host *wasm.Host) *Driver {
	return New(Config{Host: host, Network: func(runtime.Spec) (wasip1.Network, error) { return loopback{}, nil }})
}

// image writes a module to a file.
func image(t testing.TB, name string, module []byte) runtime.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".wasm")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(module))
	return runtime.Image{Ref: name + ":v1", Digest: digest, Kind: "wasm", Path: path, ContentDigest: digest}
}

func TestDriver(t *testing.T) {
	tool := image(t, "tool", wasmtest.Build(t, "guests/tool"))
	does := func(args ...string) runtime.Spec { return runtime.Spec{Image: tool, Args: args} }
	serving := does("serve")
	serving.Ports = []runtime.Port{{Protocol: "TCP", Port: 80}}
	host := newHost(t)
	runtimetest.Run(t, runtimetest.Driver{
		New: func(*testing.T) runtime.Runtime { return newDriver(host) },
		Cat: []string{"tool", "cat"}, Exit3: []string{"tool", "exit", "3"}, Sleep: []string{"tool", "sleep", "1h"},
		Forever:  serving,
		Stubborn: does("spin"),
		Exits0:   does("exit", "0"),
		Exits3:   does("exit", "3"),
		Prints:   does("print", "hello"),
		Invalid:  runtime.Spec{Image: image(t, "text", []byte("(module)"))},
	})
}

// end runs a container to its end.
func end(t *testing.T, host *wasm.Host, s runtime.Spec) runtime.Status {
	t.Helper()
	d := newDriver(host)
	defer d.Close()
	s.ID = runtime.ID{Pod: "uid", Container: "app"}
	s.LogPath = filepath.Join(t.TempDir(), "0.log")
	if err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	c := d.find(s.ID)
	<-c.done
	return c.status
}

func TestStatus(t *testing.T) {
	tool := image(t, "tool", wasmtest.Build(t, "guests/tool"))
	host := newHost(t)
	dir := t.TempDir()
	message := filepath.Join(dir, "message")
	mounts := []runtime.Mount{{Host: dir, Guest: "/dev"}}
	tests := map[string]struct {
		spec runtime.Spec
		want runtime.Status
		text string
	}{
		"message": {
			runtime.Spec{Image: tool, Args: []string{"write", "/dev/message", "done it"}, Mounts: mounts, TerminationMessagePath: message},
			runtime.Status{Reason: "Completed"}, "done it",
		},
		"trap": {
			runtime.Spec{Image: image(t, "trap", wasmtest.Trap()), Namespace: "ns", PodName: "pod"},
			runtime.Status{ExitCode: 134, Reason: "Error"}, "ns/pod/app: unreachable",
		},
		"memory": {
			runtime.Spec{Image: image(t, "hungry", wasmtest.Hungry()), MemoryBytes: 4 << 20},
			runtime.Status{ExitCode: 137, Reason: "OOMKilled"}, "4096 KiB",
		},
		"default memory": {
			runtime.Spec{Image: image(t, "hungry", wasmtest.Hungry())},
			runtime.Status{ExitCode: 137, Reason: "OOMKilled"}, "524288 KiB",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := end(t, host, test.spec)
			if got.ExitCode != test.want.ExitCode || got.Reason != test.want.Reason || !strings.Contains(got.Message, test.text) {
				t.Errorf("got %+v", got)
			}
			if got.ContainerID != "wasm://uid/app/0" {
				t.Errorf("it is called %s", got.ContainerID)
			}
		})
	}
}

func TestStopKeepsTheGuestsOwnCode(t *testing.T) {
	d := newDriver(newHost(t))
	defer d.Close()
	s := runtime.Spec{
		ID:    runtime.ID{Pod: "uid", Container: "app"},
		Image: image(t, "tool", wasmtest.Build(t, "guests/tool")), Args: []string{"serve"},
		Ports:   []runtime.Port{{Protocol: "UDP", Port: 53}, {Port: 80}},
		LogPath: filepath.Join(t.TempDir(), "0.log"),
	}
	if err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), s.ID); err == nil {
		t.Error("a running container was removed")
	}
	if err := d.Stop(t.Context(), s.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := d.find(s.ID).status; got.ExitCode != 0 || got.Reason != "Completed" {
		t.Errorf("got %+v", got)
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tail(path, 4); got != "6789" {
		t.Errorf("got %q", got)
	}
	for _, other := range []string{"", dir, filepath.Join(dir, "missing")} {
		if got := tail(other, 4); got != "" {
			t.Errorf("%q: got %q", other, got)
		}
	}
}

func TestArguments(t *testing.T) {
	image := runtime.Image{Ref: "localhost:5000/team/hello:v1@sha256:00"}
	entry := image
	entry.Entrypoint, entry.Cmd = []string{"/app.wasm"}, []string{"-x"}
	tests := []struct {
		spec runtime.Spec
		want []string
	}{
		{runtime.Spec{Image: image}, []string{"hello"}},
		{runtime.Spec{Image: image, Args: []string{"a"}}, []string{"hello", "a"}},
		{runtime.Spec{Image: entry}, []string{"/app.wasm", "-x"}},
		{runtime.Spec{Image: entry, Args: []string{"a"}}, []string{"/app.wasm", "a"}},
		{runtime.Spec{Image: entry, Command: []string{"c"}}, []string{"c"}},
		{runtime.Spec{Image: entry, Command: []string{"c"}, Args: []string{"a"}}, []string{"c", "a"}},
	}
	for _, test := range tests {
		if got := arguments(test.spec); !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %q, want %q", test.spec, got, test.want)
		}
	}
}
