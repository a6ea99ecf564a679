package wasm

import (
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
)

var _ runtime.RequestCounter = (*Driver)(nil)

// counts are those of one container.
type counts struct {
	mu     sync.Mutex
	active int
	codes  map[int]uint64
	took   [len(runtime.RequestBounds) + 1]uint64
	sum    time.Duration
}

func (c *counts) begin() {
	c.mu.Lock()
	c.active++
	c.mu.Unlock()
}

func (c *counts) end(code int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	if c.codes == nil {
		c.codes = map[int]uint64{}
	}
	c.codes[code]++
	c.took[sort.Search(len(runtime.RequestBounds), func(i int) bool { return took <= runtime.RequestBounds[i] })]++
	c.sum += took
}

// Requests implements runtime.RequestCounter.
func (d *Driver) Requests() []runtime.Requests {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []runtime.Requests
	for id, c := range d.containers {
		s, ok := c.instance.(*server)
		if !ok || c.status.State != runtime.Running {
			continue
		}
		r := runtime.Requests{ID: id, Namespace: c.spec.Namespace, PodName: c.spec.PodName}
		s.counts.mu.Lock()
		r.Active, r.Codes, r.Took, r.Sum = s.counts.active, maps.Clone(s.counts.codes), slices.Clone(s.counts.took[:]), s.counts.sum
		s.counts.mu.Unlock()
		all = append(all, r)
	}
	return all
}
