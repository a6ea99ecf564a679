package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/wasm"
)

// HTTPName is the class of containers that are HTTP handlers: each request is a run of the module, as a CGI program (RFC 3875).
// While there are no requests nothing runs.
const HTTPName = "wasm-http"

// Variables of a container that say how requests are served.
const (
	envConcurrency = "WHERRY_HTTP_CONCURRENCY" // how many are served at the same time
	envQueue       = "WHERRY_HTTP_QUEUE"       // how many more wait; beyond them the answer is 503
	envTimeout     = "WHERRY_HTTP_TIMEOUT"     // how long one may take, waiting included; as Go's durations
)

// httpOptions say how requests are served.
type httpOptions struct {
	concurrency, queue int
	timeout            time.Duration
}

// httpOptionsOf reads a container's variables.
func httpOptionsOf(env []string) (httpOptions, error) {
	s := httpOptions{concurrency: 16, queue: 64, timeout: 30 * time.Second}
	for _, kv := range env {
		var err error
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case envConcurrency:
			s.concurrency, err = number(value, 1, 10_000)
		case envQueue:
			s.queue, err = number(value, 0, 100_000)
		case envTimeout:
			if s.timeout, err = time.ParseDuration(value); err == nil && s.timeout <= 0 {
				err = errors.New("it must be positive")
			}
		}
		if err != nil {
			return s, fmt.Errorf("%w: variable %s: %w", runtime.ErrInvalid, name, err)
		}
	}
	return s, nil
}

func number(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && (n < least || n > most) {
		err = fmt.Errorf("it must be from %d to %d", least, most)
	}
	return n, err
}

// server is the process of a container that is an HTTP handler.
type server struct {
	httpOptions
	host   *wasm.Host
	module *wasm.Module
	guest  wasm.Spec // of each request, but for what the request says
	counts counts
	access *lines
	errors *lines
	http   *http.Server
	ctx    context.Context // ends with Kill
	cancel context.CancelFunc

	slots   chan struct{} // holds a token for each request that is served
	waiting atomic.Int64
	mu      sync.Mutex // guards closed, and that active grows only before
	closed  bool
	active  sync.WaitGroup // requests
	stopped atomic.Bool    // by Terminate
	ending  sync.Once
	drained chan struct{} // closed when Terminate has no more to wait for
	done    chan struct{}
	exit    wasm.Exit // set before done is closed
}

var _ process = (*server)(nil)

// startHTTP listens on the container's TCP ports. It takes the module over.
func startHTTP(ctx context.Context, host *wasm.Host, m *wasm.Module, c *container, guest wasm.Spec, log *slog.Logger) (*server, error) {
	if c.spec.Stdin {
		return nil, fmt.Errorf("%w: the standard input of an HTTP handler is the request's body", runtime.ErrInvalid)
	}
	how, err := httpOptionsOf(c.spec.Env)
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	for _, a := range guest.Listen {
		l, err := c.network.Listen(ctx, a.Network, a.Addr)
		if err != nil {
			return nil, errors.Join(err, closeAll(listeners))
		}
		listeners = append(listeners, l)
	}
	if len(listeners) == 0 {
		return nil, fmt.Errorf("%w: an HTTP handler needs a container port (TCP) to listen on", runtime.ErrInvalid)
	}
	guest.Listen, guest.OutputRate = nil, 0
	s := &server{
		httpOptions: how, host: host, module: m, guest: guest,
		access: &lines{to: c.output.stdout}, errors: &lines{to: c.output.stderr},
		slots: make(chan struct{}, how.concurrency), drained: make(chan struct{}), done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go s.run(listeners)
	return s, nil
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// run serves until the server is ended; who waits for done waits for it.
func (s *server) run(listeners []net.Listener) {
	var serving sync.WaitGroup
	errs := make([]error, len(listeners))
	for i, l := range listeners {
		serving.Go(func() {
			if errs[i] = s.http.Serve(l); !errors.Is(errs[i], http.ErrServerClosed) {
				s.cancel() // nothing serves half of its ports
			}
		})
	}
	serving.Wait()
	if s.stopped.Load() {
		select {
		case <-s.drained:
		case <-s.ctx.Done():
		}
	}
	killed := s.ctx.Err() != nil
	s.cancel()
	_ = s.http.Close() // what is still open belongs to nobody
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.active.Wait()
	s.module.Release()
	s.exit = wasm.Exit{Reason: wasm.Completed}
	for _, err := range errs {
		if !errors.Is(err, http.ErrServerClosed) {
			s.exit = wasm.Exit{Code: 1, Reason: wasm.Error, Message: err.Error()}
		}
	}
	if killed && s.exit.Code == 0 {
		s.exit = wasm.Exit{Code: 137, Reason: wasm.Error}
	}
	close(s.done)
}

// Done is closed when no request is served any more.
func (s *server) Done() <-chan struct{} { return s.done }

// Exit is valid once Done is closed.
func (s *server) Exit() wasm.Exit { return s.exit }

// Terminate takes no more requests, and lets those that are there end.
func (s *server) Terminate() {
	s.ending.Do(func() {
		s.stopped.Store(true)
		go func() { // run waits for it
			defer close(s.drained)
			_ = s.http.Shutdown(s.ctx) // it fails only with ctx
		}()
	})
}

// Kill ends all requests.
func (s *server) Kill() {
	s.cancel()
	_ = s.http.Close() // run does the rest
}

// Usage is that of all requests.
func (s *server) Usage() (cpu time.Duration, memory int64) { return s.guest.Limits.Usage() }

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		panic(http.ErrAbortHandler) // its connection is closed
	}
	defer s.active.Done()
	begun := time.Now()
	answer := &response{ResponseWriter: w}
	s.counts.begin()
	defer func() {
		s.counts.end(answer.status, time.Since(begun))
		s.access.line(fmt.Sprintf("%s %s %q %s %d %d %v", remote(r).Addr(), r.Method, cut(r.RequestURI), r.Proto,
			answer.status, answer.bytes, time.Since(begun).Round(time.Microsecond)))
	}()
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if !s.enter(ctx) {
		answer.Header().Set("Retry-After", "1")
		http.Error(answer, "the handler is busy", http.StatusServiceUnavailable)
		return
	}
	defer func() { <-s.slots }()
	s.cgi(ctx, answer, r)
}

// begin counts a request, unless all has ended.
func (s *server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.active.Add(1)
	}
	return !s.closed
}

// enter waits until the request may be served. false: there are too many.
func (s *server) enter(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > int64(s.queue) {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// cut bounds what is logged of a request.
func cut(text string) string { return text[:min(len(text), 1024)] }

// remote is who asks.
func remote(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return a
}

// response counts what is answered.
type response struct {
	http.ResponseWriter
	status int // 0: nothing yet
	bytes  int64
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// lines is a log of whole lines that many write to, bounded to outputRate. What is more is left out, and counted.
type lines struct {
	mu     sync.Mutex // held over writes, so that lines do not mix
	to     io.Writer
	second int64 // that is going on
	spent  int
	lost   int
}

func (l *lines) line(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now().Unix(); now != l.second {
		l.second, l.spent = now, 0
		if l.lost > 0 {
			_, _ = fmt.Fprintf(l.to, "%d lines are left out\n", l.lost) // a log that fails is told when it is closed
			l.lost = 0
		}
	}
	if l.spent += len(text) + 1; l.spent > outputRate {
		l.lost++
		return
	}
	_, _ = io.WriteString(l.to, text+"\n") // as above
}

// maxLine is how long a line of a guest may be, in bytes; a longer one is split.
const maxLine = 16 << 10

// lineWriter makes lines of what one guest writes.
type lineWriter struct {
	to   *lines
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	for _, c := range b {
		if c == '\n' || len(w.rest) == maxLine {
			w.flush()
		}
		if c != '\n' {
			w.rest = append(w.rest, c)
		}
	}
	return len(b), nil
}

// flush ends a line.
func (w *lineWriter) flush() {
	w.to.line(string(w.rest))
	w.rest = w.rest[:0]
}
