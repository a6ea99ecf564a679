// Package audit notes who asked what of the API and what came of it: lines of JSON, each an audit.k8s.io/v1 Event, as a
// Policy says.
//
// Nobody waits for the log. Events gather in memory and are written once a second, or sooner when there are many; what does
// not fit because the disk is too slow is dropped and counted, and the log says how much.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Bounds.
const (
	flushEvery = time.Second
	flushBytes = 256 << 10 // written sooner when so many wait
	maxPending = 8 << 20   // more are dropped
	// maxEvent is the longest line; what was sent and answered is left out of longer ones.
	maxEvent = 256 << 10
)

// Config is what a Log needs. Path is required.
type Config struct {
	// Policy nil is DefaultPolicy.
	Policy *auditv1.Policy
	Path   string
	// MaxBytes of each file, and how many full ones are kept; 0 means 10 MiB and 5.
	MaxBytes int64
	MaxFiles int
	Logger   *slog.Logger
}

// Log is an audit log. A nil *Log notes nothing. It is a prometheus.Collector.
type Log struct {
	policy *auditv1.Policy
	log    *slog.Logger
	file   file

	mu      sync.Mutex
	pending []byte
	lost    int           // since the last write
	full    chan struct{} // holds a token when much waits

	events  prometheus.Counter
	errors  prometheus.Counter
	dropped prometheus.Counter
}

// New returns a log; nothing is written before Run.
func New(c Config) *Log {
	if c.Policy == nil {
		c.Policy = DefaultPolicy()
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 10 << 20
	}
	if c.MaxFiles == 0 {
		c.MaxFiles = 5
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Log{
		policy: c.Policy, log: c.Logger, file: file{path: c.Path, max: c.MaxBytes, keep: c.MaxFiles}, full: make(chan struct{}, 1),
		events:  counter("apiserver_audit_event_total", "Audit events that were made."),
		errors:  counter("apiserver_audit_error_total", "Writes of audit events that failed."),
		dropped: counter("wherry_audit_dropped_total", "Audit events that were dropped: too many waited to be written."),
	}
}

// Describe implements prometheus.Collector.
func (l *Log) Describe(to chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Counter{l.events, l.errors, l.dropped} {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (l *Log) Collect(to chan<- prometheus.Metric) {
	for _, c := range []prometheus.Counter{l.events, l.errors, l.dropped} {
		c.Collect(to)
	}
}

// Run writes until ctx ends, then what is left, and returns nil. A disk that takes nothing is tried again with the next events.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.flush()
			if err := l.file.close(); err != nil {
				l.log.Warn("audit log", "error", err)
			}
			return nil
		case <-tick.C:
		case <-l.full:
		}
		l.flush()
	}
}

// flush writes what waits.
func (l *Log) flush() {
	l.mu.Lock()
	b, lost := l.pending, l.lost
	l.pending, l.lost = nil, 0
	l.mu.Unlock()
	if lost > 0 {
		l.log.Warn("audit events were dropped: the disk is too slow", "events", lost)
	}
	if len(b) == 0 {
		return
	}
	if err := l.file.write(b); err != nil {
		l.errors.Inc()
		l.log.Error("audit events were lost", "error", err)
	}
}

// put adds a line.
func (l *Log) put(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending)+len(line)+1 > maxPending {
		l.lost++
		l.dropped.Inc()
		return
	}
	l.events.Inc()
	l.pending = append(append(l.pending, line...), '\n')
	if len(l.pending) > flushBytes {
		select {
		case l.full <- struct{}{}:
		default: // it holds one
		}
	}
}

// Record is one request on its way. A nil *Record notes nothing. Its methods may be called concurrently.
type Record struct {
	log      *Log
	decision decision

	mu    sync.Mutex
	event auditv1.Event
}

// Begin decides whether the request is noted, and notes that it came. It returns nil if not. event holds what is known of the
// request: its id, URI, verb, user, sources, agent, object and when it came.
func (l *Log) Begin(r *Request, event auditv1.Event) *Record {
	if l == nil {
		return nil
	}
	d := decide(l.policy, r)
	if d.level == auditv1.LevelNone {
		return nil
	}
	event.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: auditv1.SchemeGroupVersion.String()}
	event.Level = d.level
	record := &Record{log: l, decision: d, event: event}
	record.note(auditv1.StageRequestReceived)
	return record
}

// Wants says whether what was sent, and what was answered, are to be noted.
func (r *Record) Wants() (request, response bool) {
	if r == nil {
		return false, false
	}
	response = r.decision.level == auditv1.LevelRequestResponse
	return response || r.decision.level == auditv1.LevelRequest, response
}

// Annotate adds an annotation; the first under a key counts.
func (r *Record) Annotate(key, value string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.event.Annotations == nil {
		r.event.Annotations = map[string]string{}
	}
	if _, ok := r.event.Annotations[key]; !ok {
		r.event.Annotations[key] = value
	}
}

// Sent and Answered keep objects in JSON; nil for nothing.
func (r *Record) Sent(object []byte) {
	r.set(object, func(u *runtime.Unknown) { r.event.RequestObject = u })
}

// Answered keeps what went out.
func (r *Record) Answered(object []byte) {
	r.set(object, func(u *runtime.Unknown) { r.event.ResponseObject = u })
}

func (r *Record) set(object []byte, into func(*runtime.Unknown)) {
	if r == nil || len(object) == 0 || !json.Valid(object) {
		return
	}
	if r.decision.omitManagedFields {
		object = withoutManagedFields(object)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	into(&runtime.Unknown{Raw: object, ContentType: runtime.ContentTypeJSON})
}

// Outcome keeps the Status that the client gets; without one, Started and the like note the code alone.
func (r *Record) Outcome(status *metav1.Status) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.event.ResponseStatus = status
}

// Impersonated notes on whose behalf the user asks.
func (r *Record) Impersonated(user *authenticationv1.UserInfo) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.event.ImpersonatedUser = user
}

// Started notes that a long answer has begun.
func (r *Record) Started(code int) { r.end(auditv1.StageResponseStarted, code) }

// Completed notes what came of the request.
func (r *Record) Completed(code int) { r.end(auditv1.StageResponseComplete, code) }

// Panicked notes that there was no answer.
func (r *Record) Panicked(code int) { r.end(auditv1.StagePanic, code) }

func (r *Record) end(stage auditv1.Stage, code int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{Code: int32(code)}
	}
	r.mu.Unlock()
	r.note(stage)
}

// note writes the event as it is at a stage.
func (r *Record) note(stage auditv1.Stage) {
	if slices.Contains(r.decision.omit, stage) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.event.Stage, r.event.StageTimestamp = stage, metav1.NowMicro()
	line, err := json.Marshal(&r.event)
	if err == nil && len(line) > maxEvent {
		line, err = r.shortened()
	}
	if err != nil {
		r.log.errors.Inc()
		r.log.log.Error("an audit event cannot be written", "id", r.event.AuditID, "error", err)
		return
	}
	r.log.put(line)
}

// shortened is the event without its objects, and says so.
func (r *Record) shortened() ([]byte, error) {
	short := r.event
	short.RequestObject, short.ResponseObject = nil, nil
	short.Annotations = map[string]string{"audit.k8s.io/truncated": "true"}
	for key, value := range r.event.Annotations {
		short.Annotations[key] = value
	}
	const maxURI = 8 << 10
	short.RequestURI = short.RequestURI[:min(len(short.RequestURI), maxURI)]
	return json.Marshal(&short)
}

// withoutManagedFields leaves metadata.managedFields out of an object, or the items of a list.
func withoutManagedFields(object []byte) []byte {
	var tree map[string]any
	if json.Unmarshal(object, &tree) != nil {
		return object
	}
	strip := func(o map[string]any) {
		if meta, ok := o["metadata"].(map[string]any); ok {
			delete(meta, "managedFields")
		}
	}
	strip(tree)
	items, _ := tree["items"].([]any)
	for _, item := range items {
		if o, ok := item.(map[string]any); ok {
			strip(o)
		}
	}
	b, err := json.Marshal(tree)
	if err != nil {
		panic(fmt.Errorf("encoding what was decoded: %w", err))
	}
	return b
}

type key struct{}

// With carries a record in a context.
func With(ctx context.Context, r *Record) context.Context { return context.WithValue(ctx, key{}, r) }

// From is the record of the request that the context belongs to, or nil.
func From(ctx context.Context) *Record {
	r, _ := ctx.Value(key{}).(*Record)
	return r
}
