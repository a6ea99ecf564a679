package wasmprocess

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/runtimetest"
	"wherry/wasm"
	"wherry/wasm/wasip1"
	"wherry/wasm/wasmtest"
)

func TestMain(m *testing.M) {
	if code, ours := Main(os.Args); ours {
		os.Exit(code)
	}
	if filepath.Base(os.Args[0]) == confinedArgument {
		os.Exit(confined())
	}
	os.Exit(m.Run())
}

// loopback is a Network on the machine's own loopback: any port in the place of one below 1024.
type loopback struct{ listening chan string }

func (l loopback) Listen(ctx context.Context, network string, a netip.AddrPort) (net.Listener, error) {
	port := a.Port()
	if port < 1024 {
		port = 0
	}
	var c net.ListenConfig
	nl, err := c.Listen(ctx, network, fmt.Sprint("127.0.0.1:", port))
	if err == nil && l.listening != nil {
		l.listening <- nl.Addr().String()
	}
	return nl, err
}

func (loopback) ListenPacket(ctx context.Context, network string, _ netip.AddrPort) (net.PacketConn, error) {
	var c net.ListenConfig
	return c.ListenPacket(ctx, network, "127.0.0.1:0")
}

func (loopback) Dial(ctx context.Context, network string, a netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, a.String())
}

func (loopback) Resolve(_ context.Context, host string) ([]netip.Addr, error) {
	if host == "here" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// newDriver returns a driver with a folder; what is left in it when the test ends is ended.
func newDriver(t testing.TB, dir string, network wasip1.Network) *Driver {
	t.Helper()
	cache := wasmtest.CacheDir(t)
	host, err := wasm.New(wasm.Config{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	d, err := New(Config{
		Dir: dir, Host: host, CacheDir: cache,
		Network: func(runtime.Spec) (wasip1.Network, error) { return network, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sweep ends the processes of a folder.
func sweep(t testing.TB, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		var pid int
		folder := filepath.Join(dir, e.Name())
		if !e.IsDir() || !lives(folder) || readFile(filepath.Join(folder, pidFile), &pid) != nil {
			continue
		}
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill()
		}
		for lives(folder) {
			time.Sleep(time.Millisecond)
		}
	}
}

func folder(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "wasm-process")
	t.Cleanup(func() { sweep(t, dir) })
	return dir
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
	is := func(name string, module []byte) runtime.Spec { return runtime.Spec{Image: image(t, name, module)} }
	serving := is("tool", wasmtest.Build(t, "guests/tool"))
	serving.Args = []string{"serve"}
	serving.Ports = []runtime.Port{{Protocol: "TCP", Port: 80}}
	runtimetest.Run(t, runtimetest.Driver{
		New: func(t *testing.T) runtime.Runtime { return newDriver(t, folder(t), loopback{}) },
		Reopen: func(t *testing.T, old runtime.Runtime) runtime.Runtime {
			return newDriver(t, old.(*Driver).config.Dir, loopback{})
		},
		Forever:  serving,
		Cat:      []string{"tool", "cat"},
		Exit3:    []string{"tool", "exit", "3"},
		Sleep:    []string{"tool", "sleep", "1h"},
		Stubborn: is("spin", wasmtest.Endless()["spin"]),
		Exits0:   is("exit0", wasmtest.Exit(0)),
		Exits3:   is("exit3", wasmtest.Exit(3)),
		Prints:   is("print", wasmtest.Print("hello\n")),
		Invalid:  is("text", []byte("(module)")),
	})
}

func TestConsoles(t *testing.T) {
	d := newDriver(t, folder(t), loopback{})
	defer d.Close()
	tool := image(t, "tool", wasmtest.Build(t, "guests/tool"))
	s := runtime.Spec{
		ID: runtime.ID{Pod: "uid", Container: "app"}, Image: tool, Args: []string{"cat"}, Stdin: true, StdinOnce: true,
		LogPath: filepath.Join(t.TempDir(), "0.log"),
	}
	if err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	text := strings.Repeat("x", 300<<10)
	for range 4 { // side by side, with more than fits into buffers
		all.Go(func() {
			var out bytes.Buffer
			code, err := d.Exec(t.Context(), s.ID, []string{"tool", "cat"}, runtime.Console{Stdin: io.NopCloser(strings.NewReader(text)), Stdout: &out})
			if code != 0 || err != nil || out.String() != text {
				t.Errorf("code %d, %v, %d bytes", code, err, out.Len())
			}
		})
	}
	all.Wait()
	var warnings bytes.Buffer
	if code, err := d.Exec(t.Context(), s.ID, []string{"ls"}, runtime.Console{Stderr: &warnings}); code != 127 || err != nil || !strings.Contains(warnings.String(), "ls: not found") {
		t.Errorf("code %d, %v, %s", code, err, warnings.String())
	}
	if _, err := d.Exec(t.Context(), s.ID, []string{"tool", strings.Repeat("x", maxLine)}, runtime.Console{}); err == nil {
		t.Error("a command that is too long was run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	reads, _ := io.Pipe() // a user who types nothing, and goes
	all.Go(func() {
		if _, err := d.Exec(ctx, s.ID, []string{"tool", "cat"}, runtime.Console{Stdin: reads, Stdout: io.Discard}); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	})
	cancel()
	all.Wait()
	if err := d.Attach(t.Context(), s.ID, runtime.Console{Stdin: io.NopCloser(strings.NewReader("typed"))}); err != nil {
		t.Error(err)
	}
	<-d.find(s.ID).done // its input has ended
}

// start starts a container that serves, and returns where.
func start(t testing.TB, d *Driver, listening chan string) (runtime.Spec, string) {
	t.Helper()
	s := runtime.Spec{
		ID:    runtime.ID{Pod: "uid", Container: "app"},
		Image: image(t, "echo", wasmtest.Echo()),
		Ports: []runtime.Port{{Port: 80}}, LogPath: filepath.Join(t.TempDir(), "0.log"),
	}
	if err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s, <-listening
}

// greet says something to the guest, which says it too.
func greet(t testing.TB, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello")
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "hello" {
		t.Errorf("the guest answered %q, %v", answer, err)
	}
}

// TestRestart: the guest serves before and after a restart of the agent, on the same port, as the same process.
func TestRestart(t *testing.T) {
	dir, listening := folder(t), make(chan string, 1)
	d := newDriver(t, dir, loopback{listening})
	s, address := start(t, d, listening)
	greet(t, address)
	var before, after int
	pid := filepath.Join(dir, folderName(s.ID), pidFile)
	if err := readFile(pid, &before); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = newDriver(t, dir, loopback{listening})
	defer d.Close()
	if again := <-listening; again != address {
		t.Errorf("it listens on %s, was %s", again, address)
	}
	greet(t, address)
	if u, err := d.Usage(t.Context(), s.ID); err != nil || u.CPU == 0 || u.MemoryBytes == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := readFile(pid, &after); err != nil || before != after {
		t.Errorf("process %d, was %d; %v", after, before, err)
	}
	if err := d.Stop(t.Context(), s.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	all, err := d.Observe(t.Context())
	if err != nil || len(all) != 1 || all[0].ExitCode != 0 || all[0].Reason != "Completed" {
		t.Errorf("in the end %+v, %v", all, err)
	}
	if err := d.Remove(t.Context(), s.ID); err != nil {
		t.Error(err)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestEndWithoutAnAgent: how a run ended while there was no agent is known to the next one; so is that its process was killed.
func TestEndWithoutAnAgent(t *testing.T) {
	for name, end := range map[string]func(*os.Process) error{
		"killed": func(p *os.Process) error { return p.Kill() },
		"exits":  func(*os.Process) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			d := newDriver(t, dir, loopback{})
			s := runtime.Spec{
				ID:      runtime.ID{Pod: "uid", Container: "app"},
				Image:   image(t, "sleep", wasmtest.Sleep(300*time.Millisecond)),
				LogPath: filepath.Join(t.TempDir(), "0.log"),
			}
			want := runtime.Status{Reason: "Completed"}
			if name == "killed" {
				s.Image, want = image(t, "sleep", wasmtest.Sleep(time.Hour)), runtime.Status{Reason: "Error", ExitCode: 137}
			}
			if err := d.Start(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			process := d.find(s.ID).process
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := end(process); err != nil {
				t.Fatal(err)
			}
			for lives(filepath.Join(dir, folderName(s.ID))) {
				time.Sleep(time.Millisecond)
			}
			d = newDriver(t, dir, loopback{})
			defer d.Close()
			all, err := d.Observe(t.Context())
			if err != nil || len(all) != 1 || all[0].State != runtime.Exited || all[0].ExitCode != want.ExitCode || all[0].Reason != want.Reason {
				t.Errorf("got %+v, %v", all, err)
			}
		})
	}
}

// TestOrphansEnd: a process whose folder was removed ends by itself.
func TestOrphansEnd(t *testing.T) {
	dir, listening := folder(t), make(chan string, 1)
	d := newDriver(t, dir, loopback{listening})
	s, _ := start(t, d, listening)
	c := d.find(s.ID)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}
	<-c.reaped
}

// TestStrangersAreTurnedAway: who does not know a container's token gets nothing.
func TestStrangersAreTurnedAway(t *testing.T) {
	dir, listening := folder(t), make(chan string, 1)
	d := newDriver(t, dir, loopback{listening})
	defer d.Close()
	s, _ := start(t, d, listening)
	conn, err := net.Dial("unix", filepath.Join(dir, socketFile))
	if err != nil {
		t.Skip("the folder of this test has too long a path: ", err)
	}
	w := newWire(conn)
	defer w.Close()
	if err := w.send(hello{Protocol: protocol, Folder: folderName(s.ID), Token: "guessed", Kind: kindResolve, Host: "here"}); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := w.receive(&a); err == nil {
		t.Errorf("it was told %+v", a)
	}
}

// TestNetwork uses the network through the gateway as a process does.
func TestNetwork(t *testing.T) {
	dir, listening := folder(t), make(chan string, 1)
	d := newDriver(t, dir, loopback{listening})
	defer d.Close()
	s, address := start(t, d, listening)
	t.Chdir(filepath.Join(dir, folderName(s.ID)))
	link := &agentLink{hello{Folder: folderName(s.ID), Token: d.find(s.ID).order.Token}}
	ctx := t.Context()

	conn, err := link.Dial(ctx, "tcp", netip.MustParseAddrPort(address))
	if err != nil {
		t.Fatal(err)
	}
	if conn.RemoteAddr().String() != address {
		t.Errorf("connected to %v", conn.RemoteAddr())
	}
	fmt.Fprint(conn, "through")
	if answer, err := io.ReadAll(conn); string(answer) != "through" {
		t.Errorf("%q, %v", answer, err)
	}
	conn.Close()

	if _, err := link.Dial(ctx, "tcp", netip.MustParseAddrPort("127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens there: %v", err)
	}
	if addrs, err := link.Resolve(ctx, "here"); err != nil || len(addrs) != 1 {
		t.Errorf("%v, %v", addrs, err)
	}
	var dns *net.DNSError
	if _, err := link.Resolve(ctx, "nowhere"); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("%v", err)
	}

	one, err := link.ListenPacket(ctx, "udp", netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := link.Dial(ctx, "udp", addrPort(one.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	buf := make([]byte, 100)
	if _, err := two.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	n, from, err := one.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "ping" || from.String() != two.LocalAddr().String() {
		t.Fatalf("%q of %v, %v", buf[:n], from, err)
	}
	if _, err := one.WriteTo([]byte("pong"), from); err != nil {
		t.Fatal(err)
	}
	if n, err := two.Read(buf); err != nil || string(buf[:n]) != "pong" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
}

// BenchmarkStart measures a Go guest in a process of its own, to its first output, and what one takes that is idle.
func BenchmarkStart(b *testing.B) {
	dir := folder(b)
	d := newDriver(b, dir, loopback{})
	defer d.Close()
	tool := image(b, "tool", wasmtest.Build(b, "guests/tool"))
	n := 0
	for b.Loop() {
		s := runtime.Spec{
			ID: runtime.ID{Pod: "uid", Container: "app", Attempt: n}, Image: tool, Args: []string{"sleep", "1h"},
			LogPath: filepath.Join(b.TempDir(), fmt.Sprint(n)),
		}
		n++
		if err := d.Start(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(resident(dir)/float64(n)/1024, "KiB/guest")
}

// BenchmarkEcho measures a connection to a guest, a question and its answer, through the agent's socket.
func BenchmarkEcho(b *testing.B) {
	listening := make(chan string, 1)
	d := newDriver(b, folder(b), loopback{listening})
	defer d.Close()
	_, address := start(b, d, listening)
	for b.Loop() {
		greet(b, address)
	}
}

// resident is the memory that the processes of a folder do not share with others, in bytes; 0 if the system does not say.
func resident(dir string) (sum float64) {
	pids, _ := filepath.Glob(filepath.Join(dir, "*", pidFile))
	for _, path := range pids {
		var pid int
		if readFile(path, &pid) != nil {
			continue
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(text)) {
			var kib float64
			if n, _ := fmt.Sscanf(line, "Private_Dirty: %f kB", &kib); n == 1 {
				sum += kib * 1024
			}
		}
	}
	return sum
}
