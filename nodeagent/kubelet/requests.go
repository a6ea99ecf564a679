package kubelet

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"wherry/nodeagent/runtime"
)

// requests are those of HTTP handlers, by container.
func (p *page) requests(all []runtime.Requests) {
	slices.SortFunc(all, func(a, b runtime.Requests) int {
		return strings.Compare(a.Namespace+"/"+a.PodName+"/"+a.ID.Container, b.Namespace+"/"+b.PodName+"/"+b.ID.Container)
	})
	labels := func(r runtime.Requests, more ...string) []string {
		return append([]string{"container", r.ID.Container, "namespace", r.Namespace, "pod", r.PodName}, more...)
	}
	const active, total, took = "wherry_http_requests_active", "wherry_http_requests_total", "wherry_http_request_duration_seconds"
	p.family(active, "gauge", "Requests that a handler answers now, or that wait for it")
	for _, r := range all {
		p.value(active, float64(r.Active), time.Time{}, labels(r)...)
	}
	p.family(total, "counter", "Requests that a handler has answered, by status")
	for _, r := range all {
		for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
			p.value(total, float64(r.Codes[code]), time.Time{}, labels(r, "code", strconv.Itoa(code))...)
		}
	}
	p.family(took, "histogram", "How long requests took, waiting included")
	for _, r := range all {
		sum := uint64(0)
		for i, n := range r.Took {
			sum += n
			bound := "+Inf"
			if i < len(runtime.RequestBounds) {
				bound = strconv.FormatFloat(runtime.RequestBounds[i].Seconds(), 'g', -1, 64)
			}
			p.value(took+"_bucket", float64(sum), time.Time{}, labels(r, "le", bound)...)
		}
		p.value(took+"_sum", r.Sum.Seconds(), time.Time{}, labels(r)...)
		p.value(took+"_count", float64(sum), time.Time{}, labels(r)...)
	}
}
