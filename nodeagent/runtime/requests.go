package runtime

import "time"

// Requests is what a container that is an HTTP handler has answered since it started.
type Requests struct {
	ID                 ID
	Namespace, PodName string
	Active             int            // that are answered now, or wait
	Codes              map[int]uint64 // how many were answered, by status
	// Took counts them by how long they took: Took[i] within RequestBounds[i] and beyond the one before; the last one
	// those beyond all.
	Took []uint64
	Sum  time.Duration // of all
}

// RequestBounds are Prometheus' default ones.
var RequestBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// RequestCounter is what a Runtime may be beside: one whose containers are HTTP handlers.
type RequestCounter interface {
	// Requests tells about the containers that run.
	Requests() []Requests
}
