package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/resource"
)

// slow takes its time to judge what user flood asks.
type slow struct{ auth.Authorizer }

func (s slow) Authorize(ctx context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if a.User.Name == "flood" {
		time.Sleep(5 * time.Millisecond)
	}
	return auth.Allow, "", nil
}

// sharing is a cluster with few seats and Kubernetes' own flow schemas.
func sharing(t *testing.T) *cluster {
	c := start(t, func(cfg *apiserver.Config) { cfg.Authorizer, cfg.Seats = slow{}, 20 })
	for _, obj := range resource.Initial(resource.Options{}) {
		switch obj := obj.(type) {
		case *flowcontrolv1.FlowSchema:
			create(c, obj)
		case *flowcontrolv1.PriorityLevelConfiguration:
			create(c, obj)
		}
	}
	return c
}

// get asks as a user, who may be of groups.
func (c *cluster) get(user, path string) *http.Response {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+user)
	w := httptest.NewRecorder()
	c.server.Handler().ServeHTTP(w, r)
	return w.Result()
}

// A bubble: what the flood's requests take, and what others wait, are told in virtual time.
func TestFloodLeavesOthersServed(t *testing.T) { synctest.Test(t, floodLeavesOthersServed) }

func floodLeavesOthersServed(t *testing.T) {
	c := sharing(t)
	var refused, served atomic.Int32
	done := make(chan struct{})
	var flood sync.WaitGroup
	for range 500 {
		flood.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				switch a := c.get("flood", maps); a.StatusCode {
				case 429:
					refused.Add(1)
					if a.Header.Get("Retry-After") != "1" || a.Header.Get("X-Kubernetes-PF-FlowSchema-UID") == "" {
						t.Errorf("refused with %v", a.Header)
					}
					time.Sleep(20 * time.Millisecond)
				case 200:
					served.Add(1)
				default:
					t.Errorf("flood: %d", a.StatusCode)
				}
			}
		})
	}
	synctest.Wait() // seats and queues are full
	if refused.Load() == 0 || served.Load() != 0 {
		t.Fatalf("the flood: %d refused, %d served before a request can be over", refused.Load(), served.Load())
	}
	for i := range 20 {
		begin := time.Now()
		if a := c.get(fmt.Sprint("calm", i%3), maps); a.StatusCode != 200 || time.Since(begin) > 50*time.Millisecond {
			t.Errorf("calm: %d after %v", a.StatusCode, time.Since(begin))
		}
		begin = time.Now()
		if a := c.get("admin", maps); a.StatusCode != 200 || time.Since(begin) != 0 {
			t.Errorf("admin: %d after %v", a.StatusCode, time.Since(begin))
		}
	}
	if served.Load() == 0 {
		t.Error("nothing of the flood was served")
	}
	close(done)
	flood.Wait()
	if m := c.ask("GET", "/metrics", "").body; !strings.Contains(m, `apiserver_flowcontrol_rejected_requests_total{flow_schema="global-default",priority_level="global-default",reason="queue-full"}`) {
		t.Error("no metric of refusals")
	}
}

// Watches hold no seats: more of them than there are seats leave others served.
func TestWatchesHoldNoSeats(t *testing.T) {
	c := sharing(t)
	ctx, cancel := context.WithCancel(t.Context())
	var watches sync.WaitGroup
	for range 40 {
		began := make(chan struct{})
		watches.Go(func() {
			r := httptest.NewRequest("GET", maps+"?watch=true", nil).WithContext(ctx)
			r.Header.Set("Authorization", "Bearer jane")
			c.server.Handler().ServeHTTP(&beginner{httptest.NewRecorder(), sync.OnceFunc(func() { close(began) })}, r)
		})
		select {
		case <-began:
		case <-time.After(10 * time.Second):
			t.Fatal("a watch does not begin")
		}
	}
	if a := c.get("jane", maps); a.StatusCode != 200 {
		t.Errorf("beside watches: %d", a.StatusCode)
	}
	cancel()
	watches.Wait()
}

// beginner tells when the head has been written.
type beginner struct {
	*httptest.ResponseRecorder
	began func()
}

func (b *beginner) WriteHeader(code int) {
	b.ResponseRecorder.WriteHeader(code)
	b.began()
}

func TestTimeouts(t *testing.T) {
	c := start(t)
	for query, want := range map[string]int{"timeout=1ns": 504, "timeout=soon": 400, "timeout=10s": 200, "timeout=0": 200} {
		if a := c.ask("GET", maps+"?"+query, ""); a.StatusCode != want {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
}
