package apiserver_test

import (
	"strings"
	"testing"

	"wherry/orchestrator/apiserver"
)

func TestMetrics(t *testing.T) {
	c := start(t, func(cfg *apiserver.Config) { cfg.Profiling = true })
	c.ask("POST", maps+"?dryRun=All", cm("a", ""), contentJSON)
	c.ask("GET", maps, "")
	c.ask("GET", "/api/v1/namespaces/default/nonsense", "")
	c.ask("GET", "/nonsense", "")
	c.ask("GET", "/livez", "")
	got := c.ask("GET", "/metrics", "").body
	const rest = `",group="",resource="configmaps",scope="namespace",subresource="",`
	for _, want := range []string{
		`apiserver_request_total{code="201",component="apiserver",dry_run="All` + rest + `verb="POST",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="` + rest + `verb="LIST",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/livez",verb="GET",version=""} 1`,
		`apiserver_current_inflight_requests{request_kind="readOnly"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(got, "nonsense") {
		t.Error("what is not served became a label")
	}
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof": 301} {
		if a := c.ask("GET", path, ""); a.StatusCode != want {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	if a := c.ask("GET", "/debug/pprof/heap", "", "Authorization: Bearer jane"); a.StatusCode != 403 {
		t.Errorf("profiles for everybody: %d", a.StatusCode)
	}
	if a := start(t).ask("GET", "/debug/pprof/heap", ""); a.StatusCode != 404 {
		t.Errorf("profiles that are switched off: %d", a.StatusCode)
	}
}
