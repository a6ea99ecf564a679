package wasip1

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGoProgramWithFiles(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outer, "outside"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "files", Config{
		Args:   []string{"x", "y"},
		Env:    []string{"GREETING=hi"},
		Stdin:  strings.NewReader("typed"),
		Mounts: []Mount{{Host: dir, Guest: "/data"}},
		Dir:    "/data",
	})
	code, out := r.wait(t)
	want := `args x y env hi
wd /data
stdin typed <nil>
two "first second" size 12 time 1000000000
link two
walk . d---------
walk a d---------
walk a/b d---------
walk link L---------
walk two ----------
gone true
outside true
`
	if code != 0 || out != want {
		t.Errorf("exit %d, output\n%s\nwant\n%s", code, out, want)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "two")); err != nil || string(b) != "first second" {
		t.Errorf("on the host: %q, %v", b, err)
	}
}

// httpGuest starts the server and returns a client of it, and a counter of the times that it waited.
func httpGuest(t testing.TB) (*running, *memNetwork, *http.Client, *atomic.Int64) {
	t.Helper()
	n := newMemNetwork()
	addr := netip.AddrPortFrom(n.self, 8080)
	var waits atomic.Int64
	r := start(t, "http", Config{
		Network: n,
		Listen:  []Address{{Network: "tcp", Addr: addr}},
		Blocked: func() func() { waits.Add(1); return func() {} },
	})
	n.waitBound(8080)
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, network, _ string) (net.Conn, error) { return n.Dial(ctx, network, addr) },
		MaxIdleConnsPerHost: 200,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return r, n, &http.Client{Transport: transport}, &waits
}

func get(c *http.Client, path string) (string, error) {
	res, err := c.Get("http://guest" + path)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	return string(b), res.Body.Close()
}

func TestGoHTTPServer(t *testing.T) {
	r, _, client, waits := httpGuest(t)
	if got, err := get(client, "/hello?name=you"); err != nil || got != "hello you" {
		t.Fatalf("%q, %v", got, err)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if got, err := get(client, "/slow"); err != nil || got != "slow" {
				t.Errorf("request %d: %q, %v", i, got, err)
			}
			if got, err := get(client, fmt.Sprint("/hello?name=", i)); err != nil || got != fmt.Sprint("hello ", i) {
				t.Errorf("request %d: %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	before := waits.Load()
	if got, err := get(client, "/hello?name=again"); err != nil || got != "hello again" {
		t.Fatalf("%q, %v", got, err)
	}
	if n := waits.Load() - before; n > 100 {
		t.Errorf("one request made the guest wait %d times", n)
	}
	r.sys.Terminate()
	code, out := r.wait(t)
	if code != 0 || !strings.Contains(out, "ended:") {
		t.Errorf("exit %d, output %s", code, out)
	}
}
