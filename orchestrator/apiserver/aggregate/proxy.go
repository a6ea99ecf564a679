package aggregate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"

	"wherry/orchestrator/apiserver/auth"
)

// Headers that tell a server who asks.
const (
	headerUser  = "X-Remote-User"
	headerUID   = "X-Remote-Uid"
	headerGroup = "X-Remote-Group"
	headerExtra = "X-Remote-Extra-"
)

// Pass answers a request with what a server answers to it, asked by user. ctx ends upgraded connections.
func (a *Aggregator) Pass(ctx context.Context, w http.ResponseWriter, r *http.Request, s *Server, user *auth.User) {
	switch {
	case !s.Available():
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	case s.way.broken != nil:
		http.Error(w, s.way.broken.Error(), http.StatusInternalServerError)
		return
	}
	transport := s.way.plain
	if r.Header.Get("Upgrade") != "" {
		transport = s.way.upgrade
	}
	proxy := &httputil.ReverseProxy{
		Transport:      transport,
		FlushInterval:  -1, // watches
		ModifyResponse: noRedirect,
		ErrorLog:       slog.NewLogLogger(a.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = s.way.to.url(p.In.URL.Path, p.In.URL.RawQuery), ""
			p.Out.URL.RawPath = p.In.URL.RawPath
			p.SetXForwarded()
			identify(p.Out.Header, user)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if ctx.Err() == nil {
				a.Logger.Warn("an aggregated server did not answer", "apiservice", s.object.Name, "path", r.URL.Path, "error", err)
			}
			http.Error(w, fmt.Sprintf("error trying to reach service: %v", err), http.StatusServiceUnavailable)
		},
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

// identify puts user in the place of whom the client says that he is.
func identify(h http.Header, user *auth.User) {
	for name := range h {
		if canonical := http.CanonicalHeaderKey(name); canonical == headerUser || canonical == headerUID || canonical == headerGroup ||
			strings.HasPrefix(canonical, headerExtra) || strings.HasPrefix(canonical, "Impersonate-") || canonical == "Authorization" {
			delete(h, name)
		}
	}
	h.Set(headerUser, user.Name)
	if user.UID != "" {
		h.Set(headerUID, user.UID)
	}
	for _, group := range user.Groups {
		h.Add(headerGroup, group)
	}
	for key, values := range user.Extra {
		for _, value := range values {
			h.Add(headerExtra+escape(key), value)
		}
	}
}

// escape writes what a header's name cannot have, and the sign of that, as %XX.
func escape(key string) string {
	const token = "!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var b strings.Builder
	for i := range len(key) {
		if strings.IndexByte(token, key[i]) >= 0 {
			b.WriteByte(key[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", key[i])
		}
	}
	return b.String()
}

// noRedirect refuses to send a client, who brings his credentials along, to where a server says.
func noRedirect(r *http.Response) error {
	if r.StatusCode < 300 || r.StatusCode > 399 || r.Header.Get("Location") == "" {
		return nil
	}
	const text = "the backend attempted to redirect this request, which is not permitted"
	err := r.Body.Close()
	r.StatusCode, r.Status = http.StatusBadGateway, ""
	r.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	if errors.Is(err, http.ErrBodyReadAfterClose) {
		return nil
	}
	return err
}
