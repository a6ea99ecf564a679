package kubelet

import (
	"strings"
	"testing"
	"time"

	"wherry/nodeagent/runtime"
)

func TestRequests(t *testing.T) {
	took := make([]uint64, len(runtime.RequestBounds)+1)
	took[0], took[2], took[len(took)-1] = 3, 1, 1
	p := &page{}
	p.requests([]runtime.Requests{{
		ID: runtime.ID{Container: "app"}, Namespace: "shop", PodName: "web", Active: 2,
		Codes: map[int]uint64{200: 4, 504: 1}, Took: took, Sum: 12 * time.Second,
	}})
	for _, want := range []string{
		`wherry_http_requests_active{container="app",namespace="shop",pod="web"} 2`,
		`wherry_http_requests_total{container="app",namespace="shop",pod="web",code="504"} 1`,
		`wherry_http_request_duration_seconds_bucket{container="app",namespace="shop",pod="web",le="0.005"} 3`,
		`wherry_http_request_duration_seconds_bucket{container="app",namespace="shop",pod="web",le="0.025"} 4`,
		`wherry_http_request_duration_seconds_bucket{container="app",namespace="shop",pod="web",le="+Inf"} 5`,
		`wherry_http_request_duration_seconds_sum{container="app",namespace="shop",pod="web"} 12`,
		`wherry_http_request_duration_seconds_count{container="app",namespace="shop",pod="web"} 5`,
	} {
		if !strings.Contains(p.String(), want+"\n") {
			t.Errorf("no %s in:\n%s", want, p.String())
		}
	}
}
