package apiserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wherry/orchestrator/store/memstore"
)

// event is one line of a watch.
type event struct {
	Type   string
	Object struct {
		Kind     string
		Code     int
		Reason   string
		Metadata struct {
			Name, ResourceVersion string
			Annotations           map[string]string
		}
		ColumnDefinitions []json.RawMessage
		Rows              []json.RawMessage
	}
	at time.Duration // since the watch began
}

// streamed is a ResponseWriter whose body is read while it is written.
type streamed struct {
	header http.Header
	code   int
	*io.PipeWriter
}

func (s *streamed) Header() http.Header  { return s.header }
func (s *streamed) WriteHeader(code int) { s.code = code }
func (s *streamed) Flush()               {}

// watch begins a watch, and returns its events as they come. They end with the watch, or
// when stop is called.
func (c *cluster) watch(path string, headers ...string) (events <-chan event, stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer admin")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	in, out := io.Pipe()
	begun := time.Now()
	var running sync.WaitGroup
	running.Go(func() {
		c.server.Handler().ServeHTTP(&streamed{header: http.Header{}, PipeWriter: out}, r)
		out.Close()
	})
	lines := make(chan event, 100)
	running.Go(func() {
		defer close(lines)
		for scan := bufio.NewScanner(in); scan.Scan(); {
			e := event{at: time.Since(begun)}
			if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
				c.t.Errorf("%s: %v", scan.Text(), err)
			}
			lines <- e
		}
	})
	return lines, func() { cancel(); in.Close(); running.Wait() }
}

func TestBookmarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		ensure(c, newConfigMap("a"))
		from := c.state.Revision()
		events, stop := c.watch(fmt.Sprintf("%s?watch=true&allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion=%d", maps, from))
		defer stop()
		ensure(c, newDeployment("elsewhere")) // the watch sees nothing of it, but goes on to its revision
		now := c.state.Revision()
		var got []string
		for e := range events {
			got = append(got, fmt.Sprint(e.Type, e.at, e.Object.Kind, e.Object.Metadata.ResourceVersion))
		}
		want := fmt.Sprintf("[BOOKMARK1m0sConfigMap%[1]d BOOKMARK2m0sConfigMap%[1]d BOOKMARK2m30sConfigMap%[1]d]", now)
		if fmt.Sprint(got) != want {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestInitialEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		ensure(c, newConfigMap("a"), newConfigMap("b"))
		for query, want := range map[string]string{
			"":                          "[ADDED a  ADDED b ]",
			"&resourceVersion=0":        "[ADDED a  ADDED b ]",
			"&allowWatchBookmarks=true": "[ADDED a  ADDED b  BOOKMARK  true]",
			"&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan":  "[ADDED a  ADDED b  BOOKMARK  true]",
			"&allowWatchBookmarks=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan": "[]",
			"&fieldSelector=metadata.name%3Db":                                                    "[ADDED b ]",
		} {
			events, stop := c.watch(maps + "?watch=true" + query)
			synctest.Wait()
			stop()
			var got []string
			for e := range events {
				got = append(got, fmt.Sprint(e.Type, " ", e.Object.Metadata.Name, " ", e.Object.Metadata.Annotations["k8s.io/initial-events-end"]))
			}
			if fmt.Sprint(got) != want {
				t.Errorf("%s: got %v, want %v", query, got, want)
			}
		}
	})
}

// A table shows its columns once.
func TestWatchOfATable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		ensure(c, newConfigMap("a"), newConfigMap("b"))
		events, stop := c.watch(maps+"?watch=true", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
		synctest.Wait()
		stop()
		columns := []int{}
		for e := range events {
			columns = append(columns, len(e.Object.ColumnDefinitions))
			if e.Object.Kind != "Table" || len(e.Object.Rows) != 1 || e.Object.Metadata.ResourceVersion == "" {
				t.Errorf("event %+v", e)
			}
		}
		if len(columns) != 2 || columns[0] == 0 || columns[1] != 0 {
			t.Errorf("columns %v", columns)
		}
	})
}

func TestWatchOfAForgottenPast(t *testing.T) {
	over := memstore.New()
	before := startOn(t, over)
	ensure(before, newConfigMap("a"), newConfigMap("b"))
	if err := over.Compact(t.Context(), before.state.Revision()); err != nil {
		t.Fatal(err)
	}
	c := startOn(t, over)
	events, stop := c.watch(maps + "?watch=true&resourceVersion=1")
	defer stop()
	e := <-events
	if e.Type != "ERROR" || e.Object.Kind != "Status" || e.Object.Code != 410 || e.Object.Reason != "Expired" {
		t.Errorf("event %+v", e)
	}
	if _, more := <-events; more {
		t.Error("the watch goes on")
	}
}

// The older paths of a watch.
func TestWatchByPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		ensure(c, newConfigMap("a"), newConfigMap("b"))
		for path, want := range map[string]int{"configmaps": 2, "configmaps/b": 1} {
			events, stop := c.watch("/api/v1/watch/namespaces/default/" + path)
			synctest.Wait()
			stop()
			n := 0
			for range events {
				n++
			}
			if n != want {
				t.Errorf("%s: %d events, want %d", path, n, want)
			}
		}
	})
}

// pipes is a listener whose connections are pipes without any buffer.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestSlowReadersAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		ln := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: c.server.Handler()}
		served := make(chan error)
		go func() { served <- server.Serve(ln) }()
		near, far := net.Pipe()
		ln.conns <- far
		if _, err := io.WriteString(near, "GET "+maps+"?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(near)
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
			t.Fatal(line, err)
		}
		begun := time.Now()
		ensure(c, newConfigMap("a"))
		dropped := make(chan time.Duration)
		go func() {
			time.Sleep(2 * time.Minute) // virtual: the reader sleeps, then finds that he was dropped
			_, err := io.Copy(io.Discard, in)
			if err != nil {
				t.Error(err)
			}
			dropped <- time.Since(begun)
		}()
		if took := <-dropped; took != 2*time.Minute {
			t.Errorf("the connection was still open after %v", took)
		}
		near.Close()
		server.Close()
		<-served
	})
}
