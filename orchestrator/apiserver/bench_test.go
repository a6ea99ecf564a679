package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) WriteHeader(int)             {}
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Flush()                      {}
func (d discard) reset() discard            { clear(d.header); return d }
func admin(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer admin")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

func BenchmarkList1000Pods(b *testing.B) {
	c := start(b)
	for i := range 1000 {
		create(c, newPod(fmt.Sprint("p", i)))
	}
	for name, accept := range map[string]string{"json": "application/json", "protobuf": "application/vnd.kubernetes.protobuf", "table": acceptTable} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			w := discard{http.Header{}}
			for b.Loop() {
				c.server.Handler().ServeHTTP(w.reset(), admin("GET", "/api/v1/namespaces/default/pods?limit=1000", "", "Accept: "+accept))
			}
		})
	}
}

// BenchmarkList10000Pods is the list that a large cluster's clients begin with.
func BenchmarkList10000Pods(b *testing.B) {
	c := start(b)
	for i := range 10000 {
		create(c, newPod(fmt.Sprint("p", i)))
	}
	for _, form := range []struct{ name, accept string }{
		{"json", "application/json"}, {"protobuf", "application/vnd.kubernetes.protobuf"}, {"table", acceptTable},
	} {
		b.Run(form.name, func(b *testing.B) {
			w := discard{http.Header{}}
			for b.Loop() {
				c.server.Handler().ServeHTTP(w.reset(), admin("GET", "/api/v1/pods", "", "Accept: "+form.accept))
			}
		})
	}
}

func BenchmarkCreateConfigMap(b *testing.B) {
	c := start(b)
	data := strings.Repeat("x", 1024)
	w := discard{http.Header{}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		body := cm(fmt.Sprint("m", i), `,"data":{"x":"`+data+`"}`)
		c.server.Handler().ServeHTTP(w.reset(), admin("POST", maps, body, contentJSON))
	}
}

// BenchmarkWatch is one change until every watcher has it.
func BenchmarkWatch(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkWatch(b, n) })
	}
}

// counted tells got of every event that is written: a flush after the head ends one.
type counted struct {
	discard
	flushed int
	begun   *sync.WaitGroup
	got     *sync.WaitGroup
}

func (w *counted) Flush() {
	if w.flushed++; w.flushed == 1 {
		w.begun.Done()
		return
	}
	w.got.Done()
}

func benchmarkWatch(b *testing.B, n int) {
	c := start(b)
	ensure(c, newConfigMap("c1"))
	ctx, cancel := context.WithCancel(b.Context())
	var running, begun, got sync.WaitGroup
	path := fmt.Sprintf("%s?watch=true&resourceVersion=%d", maps, c.state.Revision())
	begun.Add(n)
	for range n {
		running.Go(func() {
			c.server.Handler().ServeHTTP(&counted{discard: discard{http.Header{}}, begun: &begun, got: &got}, admin("GET", path, "").WithContext(ctx))
		})
	}
	begun.Wait()
	w := discard{http.Header{}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		got.Add(n)
		c.server.Handler().ServeHTTP(w.reset(), admin("PATCH", c1, fmt.Sprintf(`{"data":{"i":"%d"}}`, i), contentMerge))
		got.Wait()
	}
	cancel()
	running.Wait()
}
