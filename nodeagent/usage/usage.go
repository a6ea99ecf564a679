// Package usage measures what the machine and the containers on it use. It measures when it is asked and keeps nothing
// running: a rate is the mean since one of the last times that somebody asked, or, if that was long ago, over a second
// that the first one waits.
package usage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"wherry/nodeagent/runtime"
)

// Point is what was used up to a time.
type Point struct {
	At          time.Time
	CPU         time.Duration // since the start, of all processors
	MemoryBytes int64         // at that time
}

// Used is a Point and the rate up to it.
type Used struct {
	Point
	Start     time.Time     // zero: not known
	Window    time.Duration // the rate is the mean over this long; 0: it is not known
	NanoCores int64
}

// Container is what one running container uses.
type Container struct {
	ID runtime.ID
	Used
}

// Meter measures. Its methods may be called concurrently.
type Meter struct {
	Runtimes []runtime.Runtime
	// Machine is what the whole machine uses; a CPU of 0 says that the system does not tell.
	Machine func() Point
	Log     *slog.Logger

	mu         sync.Mutex
	machine    history
	containers map[runtime.ID]*history
}

const (
	patience = 5 * time.Second // for all drivers together
	settle   = time.Second     // how long the first one who asks waits
)

// Now measures. A driver that does not answer in time leaves its containers out.
func (m *Meter) Now(ctx context.Context) (machine Used, containers []Container) {
	machine, containers, settled := m.measure(ctx)
	if settled {
		return machine, containers
	}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		machine, containers, _ = m.measure(ctx)
	}
	return machine, containers
}

// measure does so once. It is not settled if a rate is missing that could be told a second later.
func (m *Meter) measure(ctx context.Context) (machine Used, containers []Container, settled bool) {
	seen := m.look(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	machine = m.machine.used(m.Machine())
	settled = machine.Window > 0
	known := m.containers
	m.containers = make(map[runtime.ID]*history, len(seen))
	for _, c := range seen {
		h := known[c.ID]
		if h == nil {
			h = newHistory(c.Start)
		}
		m.containers[c.ID] = h
		start := c.Start
		c.Used = h.used(c.Point)
		c.Start = start
		settled = settled && c.Window > 0
		containers = append(containers, c)
	}
	return machine, containers, settled
}

// look asks the drivers what their running containers have used.
func (m *Meter) look(ctx context.Context) (seen []Container) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, d := range m.Runtimes {
		all, err := d.Observe(ctx)
		if err != nil {
			m.Log.Warn("cannot observe containers to measure them", "runtime", d.Name(), "err", err)
			continue
		}
		for _, s := range all {
			if s.State != runtime.Running {
				continue
			}
			u, err := d.Usage(ctx, s.ID)
			if err != nil {
				m.Log.Debug("cannot measure a container", "container", s.ID.Container, "uid", s.ID.Pod, "err", err)
				continue // it has just ended, or does not answer
			}
			seen = append(seen, Container{s.ID, Used{Point: Point{time.Now(), u.CPU, u.MemoryBytes}, Start: s.Started}})
		}
	}
	return seen
}

// history is what was measured in the last minute, oldest first.
type history []Point

const (
	apart  = 5 * time.Second  // points are kept this far apart
	window = 10 * time.Second // the shortest, if there is a point for it
	stale  = time.Minute      // a point is of no use any more
)

// newHistory begins with the start, when nothing was used.
func newHistory(start time.Time) *history {
	if start.IsZero() {
		return &history{}
	}
	return &history{{At: start}}
}

// used adds a point and returns it with its rate.
func (h *history) used(now Point) Used {
	u := Used{Point: now}
	points := (*h)[:0]
	for _, p := range *h {
		if now.At.Sub(p.At) <= stale {
			points = append(points, p)
		}
	}
	if base, ok := points.base(now.At); ok && now.CPU >= base.CPU {
		u.Window = now.At.Sub(base.At)
		u.NanoCores = int64(float64(now.CPU-base.CPU) / u.Window.Seconds())
	}
	if len(points) == 0 || now.At.Sub(points[len(points)-1].At) >= apart {
		points = append(points, now)
	}
	*h = points
	return u
}

// base is the newest point that makes a whole window, else the oldest one; none is so new that a rate would mean nothing.
func (h history) base(now time.Time) (base Point, ok bool) {
	for i := len(h) - 1; i >= 0; i-- {
		if now.Sub(h[i].At) >= window || i == 0 {
			return h[i], now.Sub(h[i].At) >= settle
		}
	}
	return Point{}, false
}
