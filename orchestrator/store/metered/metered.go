// Package metered counts what a store is asked.
package metered

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wherry/orchestrator/store"
)

// Store is another store, counted. It is a prometheus.Collector.
type Store struct {
	store.Store
	took     *prometheus.HistogramVec
	ops      prometheus.Counter
	written  prometheus.Counter
	failures *prometheus.CounterVec
	revision prometheus.GaugeFunc
}

// New counts what st is asked.
func New(st store.Store) *Store {
	return &Store{
		Store: st,
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wherry_store_request_duration_seconds", Help: "How long the store took, by operation; a commit waits until it is durable.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}}, []string{"operation"}),
		ops: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wherry_store_operations_total", Help: "Operations in successful commits."}),
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wherry_store_written_bytes_total", Help: "Bytes of values in successful commits."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wherry_store_failures_total", Help: "Requests that failed: by a conflict, or an error."}, []string{"operation", "reason"}),
		revision: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wherry_store_revision", Help: "The newest revision."}, func() float64 { return float64(st.Revision()) }),
	}
}

func (s *Store) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.took, s.ops, s.written, s.failures, s.revision}
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(to chan<- *prometheus.Desc) {
	for _, c := range s.collectors() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(to chan<- prometheus.Metric) {
	for _, c := range s.collectors() {
		c.Collect(to)
	}
}

func (s *Store) did(operation string, begin time.Time, err error) {
	s.took.WithLabelValues(operation).Observe(time.Since(begin).Seconds())
	var lost *store.ConflictError
	switch {
	case err == nil:
	case errors.As(err, &lost):
		s.failures.WithLabelValues(operation, "conflict").Inc()
	default:
		s.failures.WithLabelValues(operation, "error").Inc()
	}
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	begin := time.Now()
	revision, err := s.Store.Commit(ctx, ops...)
	s.did("commit", begin, err)
	if err == nil {
		s.ops.Add(float64(len(ops)))
		for _, op := range ops {
			s.written.Add(float64(len(op.Value)))
		}
	}
	return revision, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	begin := time.Now()
	page, err := s.Store.List(ctx, prefix, o)
	s.did("list", begin, err)
	return page, err
}
