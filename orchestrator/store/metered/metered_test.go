package metered_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
	"wherry/orchestrator/store/metered"
)

func TestCounts(t *testing.T) {
	st := metered.New(memstore.New())
	registry := prometheus.NewRegistry()
	registry.MustRegister(st)
	for range 2 { // the second runs into the first
		_, _ = st.Commit(t.Context(), store.Op{Key: "/a", Value: []byte("four"), If: store.At(0)})
	}
	if _, err := st.List(t.Context(), "/", store.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"wherry_store_operations_total": 1, "wherry_store_written_bytes_total": 4, "wherry_store_failures_total": 1,
		"wherry_store_request_duration_seconds": 3, "wherry_store_revision": float64(st.Revision()),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
