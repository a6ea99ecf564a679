package wasip1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"
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

// server is the http guest and a client of it.
type server struct {
	*running
	net    *memNetwork
	client *http.Client
	waits  atomic.Int64 // of the guest
}

// startServer may be called in a bubble; module comes from outside of it.
func startServer(t testing.TB, module wazero.CompiledModule) *server {
	t.Helper()
	s := &server{net: newMemNetwork()}
	s.running = startModule(t, "http", module, Config{
		Network: s.net,
		Listen:  []Address{{Network: "tcp", Addr: s.net.at(8080)}},
		Blocked: func() func() { s.waits.Add(1); return func() {} },
	})
	s.net.waitBound(8080)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.net.Dial(ctx, network, s.net.at(8080))
		},
		MaxIdleConnsPerHost: 200,
	}
	s.client = &http.Client{Transport: transport}
	return s
}

func (s *server) get(path string) (string, error) {
	res, err := s.client.Get("http://guest" + path)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	return string(b), res.Body.Close()
}

// TestGoHTTPServer serves a hundred connections at once, then none for an hour.
func TestGoHTTPServer(t *testing.T) {
	module := built.module(t, "http")
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t, module)
		const clients = 100
		var wg sync.WaitGroup
		began := time.Now()
		for i := range clients {
			wg.Go(func() {
				if got, err := s.get("/slow"); err != nil || got != "slow" {
					t.Errorf("request %d: %q, %v", i, got, err)
				}
				if got, err := s.get(fmt.Sprint("/hello?name=", i)); err != nil || got != fmt.Sprint("hello ", i) {
					t.Errorf("request %d: %q, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(began); d != 50*time.Millisecond {
			t.Errorf("a hundred requests of 50 ms took %v together", d)
		}
		synctest.Wait()
		if n := s.net.connections(); n != 2*clients {
			t.Errorf("%d ends of connections are open", n)
		}

		before := s.waits.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := s.waits.Load() - before; n != 0 {
			t.Errorf("the guest woke up %d times in an idle hour", n)
		}

		s.client.CloseIdleConnections()
		synctest.Wait()
		if n := s.net.connections(); n != 0 {
			t.Errorf("%d ends of connections are left", n)
		}
		if n := s.sys.table.open; n != 4 {
			t.Errorf("%d descriptors are open, want standard streams and the listener", n)
		}

		s.sys.Terminate()
		code, out := s.wait(t)
		if code != 0 || !strings.Contains(out, "ended:") {
			t.Errorf("exit %d, output %s", code, out)
		}
	})
}

// TestLargeBodies sends more than is read ahead and written behind, through a guest that sends it back.
func TestLargeBodies(t *testing.T) {
	module := built.module(t, "http")
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t, module)
		body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		res, err := s.client.Post("http://guest/echo", "text/plain", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes of %d came back, %v", len(got), len(body), err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		s.client.CloseIdleConnections()
	})
}

// TestKill ends a guest that waits for requests.
func TestKill(t *testing.T) {
	module := built.module(t, "http")
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t, module)
		s.cancel()
		if code, _ := s.wait(t); code != sys.ExitCodeContextCanceled {
			t.Errorf("exit %#x", code)
		}
	})
}

// TestRelay goes through a guest of the socket extension, from its listener to where it connects.
func TestRelay(t *testing.T) {
	module := built.module(t, "relay")
	synctest.Test(t, func(t *testing.T) {
		n := newMemNetwork()
		l, err := n.Listen(t.Context(), "tcp", n.at(90))
		if err != nil {
			t.Fatal(err)
		}
		echo := make(chan error)
		go func() {
			nc, err := l.Accept()
			if err == nil {
				_, err = io.Copy(nc, nc)
			}
			echo <- errors.Join(err, nc.Close(), l.Close())
		}()
		r := startModule(t, "relay", module, Config{Network: n, Args: []string{"80", "90", "web"}})
		n.waitBound(80)
		nc, err := n.Dial(t.Context(), "tcp", n.at(80))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("through the guest ", 1000)
		go io.WriteString(nc, text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != text {
			t.Errorf("%.30q, %v", got, err)
		}
		if err := nc.Close(); err != nil {
			t.Error(err)
		}
		if err := <-echo; err != nil {
			t.Error(err)
		}
		nc, err = n.Dial(t.Context(), "tcp", n.at(80)) // the echo is gone
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(nc); err != nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
		if err := nc.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if k := n.connections(); k != 0 {
			t.Errorf("%d ends of connections are left", k)
		}
		r.sys.Terminate()
		code, out := r.wait(t)
		want := "listening on 10.42.0.7 80\nrelay: connect: Connection refused\nterminated\n"
		if code != 0 || out != want {
			t.Errorf("exit %d, output %q, want %q", code, out, want)
		}
	})
}
