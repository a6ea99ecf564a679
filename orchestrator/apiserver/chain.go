package apiserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver/audit"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/fair"
)

// chain is what every request passes: panics become Statuses, the user is found and his
// right to ask is judged, and the request is counted.
func (s *Server) chain(routes http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		at := parseTarget(r)
		at.remote = s.remote(at.path)
		out := &answer{ResponseWriter: w}
		out.Header().Set("Audit-Id", auditID(r))
		out.Header().Set("Cache-Control", "no-cache, private")
		done := s.metrics.begin(s.labels(r, at), at.isLong())
		defer func() {
			done(out.code(), time.Since(begin), out.size)
			s.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("verb", at.verb), slog.String("uri", r.URL.RequestURI()),
				slog.Int("status", out.code()), slog.Duration("took", time.Since(begin)), slog.String("agent", r.UserAgent()))
		}()
		defer s.recover(out, r)
		zipped := compress(out, r, at)
		s.serve(zipped, r, at, routes)
		zipped.finish()
	})
}

func (s *Server) serve(w http.ResponseWriter, r0 *http.Request, at target, routes http.Handler) {
	if len(r0.URL.RequestURI()) > maxURL {
		s.fail(w, r0, tooLong())
		return
	}
	if s.draining.Load() && !isHealth(at) {
		shuttingDown(w)
		return
	}
	r, cancel, err := deadline(r0, at)
	if err != nil {
		s.fail(w, r0, err)
		return
	}
	defer cancel()
	user, err := s.authenticated(r)
	if err == nil {
		user, err = s.impersonated(r, user)
	}
	if err != nil {
		w, r, done := s.audit(w, r, at, &auth.User{})
		defer done()
		s.fail(w, r, err)
		return
	}
	noted, r, done := s.audit(w, r, at, user)
	defer done()
	w = noted
	ticket, err := s.seat(r, at, user)
	if ticket != nil {
		sorted(w, ticket)
	}
	if err != nil {
		tooMany(w)
		return
	}
	if ticket != nil {
		defer ticket.Release()
		r = r.WithContext(context.WithValue(r.Context(), seated{}, ticket))
	}
	err = s.authorized(r, at, user)
	switch {
	case err != nil:
		s.fail(w, r, err)
	case at.remote != nil:
		s.passOn(w, r, at, user)
	case !at.resource:
		routes.ServeHTTP(w, r)
	case !s.served(at):
		s.unknown(w, r)
	default:
		s.serveResource(w, r, at, user)
	}
}

// seated is the key of a request's ticket in its context.
type seated struct{}

// standUp gives the request's seat to others: from here on it only waits for news.
func (c *call) standUp() {
	if ticket, ok := c.ctx().Value(seated{}).(*fair.Ticket); ok {
		ticket.Release()
	}
}

// authenticated finds the user. Errors: 401.
func (s *Server) authenticated(r *http.Request) (*auth.User, error) {
	user, err := s.cfg.Authenticator.Authenticate(r)
	if err != nil {
		s.log.Info("credentials refused", "remote", r.RemoteAddr, "error", err)
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	r.Header.Del("Authorization") // it is not passed on by proxies
	if user == nil {
		user = auth.Anonymous
	}
	return user, nil
}

// authorized judges whether the user may ask this. Errors: 403.
func (s *Server) authorized(r *http.Request, at target, user *auth.User) error {
	attributes := at.attributes(user)
	decision, reason, err := s.cfg.Authorizer.Authorize(r.Context(), attributes)
	record := audit.From(r.Context())
	if reason != "" {
		record.Annotate("authorization.k8s.io/reason", reason)
	}
	switch {
	case decision == auth.Allow:
		record.Annotate("authorization.k8s.io/decision", "allow")
		return nil
	case err != nil:
		return apierrors.NewInternalError(err)
	}
	record.Annotate("authorization.k8s.io/decision", "forbid")
	return auth.Forbidden(attributes, reason)
}

// recover turns a panic into status 500, if nothing has been answered yet.
func (s *Server) recover(w *answer, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	s.log.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	s.fail(w, r, apierrors.NewInternalError(errors.New("the server panicked; its log says where")))
}

// auditID is the client's, if it is a sensible one, or a new one.
func auditID(r *http.Request) string {
	if id := r.Header.Get("Audit-Id"); id != "" && len(id) <= 64 {
		return id
	}
	return uuid.NewString()
}

// answer remembers the status that went out.
type answer struct {
	http.ResponseWriter
	status int
	size   int64 // bytes of the body so far, as they went out
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.size += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach flushing, deadlines and hijacking.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

func setRetryAfter(h http.Header, seconds int32) {
	h.Set("Retry-After", strconv.Itoa(int(seconds)))
}
