package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/version"
)

// Check is one named condition of readiness.
type Check struct {
	Name string
	// Run returns nil if all is well.
	Run func(ctx context.Context) error
}

// checks are those of an endpoint: being alive asks less than being ready.
func (s *Server) checks(endpoint string) []Check {
	checks := []Check{{Name: "ping", Run: func(context.Context) error { return nil }}}
	checks = append(checks, s.cfg.Live...)
	if endpoint == "livez" {
		return checks
	}
	checks = append(checks, s.cfg.Ready...)
	if endpoint == "readyz" {
		checks = append(checks, Check{Name: "shutdown", Run: func(context.Context) error {
			if s.draining.Load() {
				return errors.New("process is shutting down")
			}
			return nil
		}})
	}
	return checks
}

// health answers /livez, /readyz and /healthz, all checks or the one that the path names.
func (s *Server) health(endpoint string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		checks := s.checks(endpoint)
		one := r.PathValue("check")
		if one != "" {
			checks = slices.DeleteFunc(checks, func(c Check) bool { return c.Name != one })
			if len(checks) == 0 {
				notFound(w)
				return
			}
		}
		if one != "" {
			s.checkOne(w, r, checks[0])
			return
		}
		report, failed := s.report(r, checks)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, verbose := r.URL.Query()["verbose"]
		switch {
		case len(failed) > 0:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, "%s%s check failed\n", report, endpoint)
		case verbose:
			_, _ = fmt.Fprintf(w, "%s%s check passed\n", report, endpoint)
		default:
			_, _ = fmt.Fprint(w, "ok")
		}
	}
}

// checkOne answers for one check.
func (s *Server) checkOne(w http.ResponseWriter, r *http.Request, check Check) {
	if err := check.Run(r.Context()); err != nil {
		s.log.Warn("health check failed", "check", check.Name, "error", err)
		http.Error(w, "internal server error: reason withheld", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprint(w, "ok")
}

// report runs the checks. Why one failed is for the log: anybody may ask.
func (s *Server) report(r *http.Request, checks []Check) (report string, failed []string) {
	excluded := r.URL.Query()["exclude"]
	var b strings.Builder
	for _, check := range checks {
		if slices.Contains(excluded, check.Name) {
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", check.Name)
			continue
		}
		if err := check.Run(r.Context()); err != nil {
			s.log.Warn("health check failed", "check", check.Name, "error", err)
			fmt.Fprintf(&b, "[-]%s failed: reason withheld\n", check.Name)
			failed = append(failed, check.Name)
			continue
		}
		fmt.Fprintf(&b, "[+]%s ok\n", check.Name)
	}
	unmatched(&b, excluded, checks)
	return b.String(), failed
}

// unmatched says which of the excluded checks there are not.
func unmatched(b *strings.Builder, excluded []string, checks []Check) {
	var unknown []string
	for _, name := range excluded {
		quoted := strconv.Quote(name)
		if !slices.ContainsFunc(checks, func(c Check) bool { return c.Name == name }) && !slices.Contains(unknown, quoted) {
			unknown = append(unknown, quoted)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		fmt.Fprintf(b, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ", "))
	}
}

// defaultVersion is the release of Kubernetes whose API is served.
func defaultVersion() version.Info {
	return version.Info{
		Major: "1", Minor: "36", EmulationMajor: "1", EmulationMinor: "36", MinCompatibilityMajor: "1", MinCompatibilityMinor: "35", GitVersion: "v1.36.3+wherry", GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	b, err := json.MarshalIndent(s.cfg.Version, "", "  ")
	if err != nil {
		panic(fmt.Errorf("encoding the version: %w", err)) // a struct of strings
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
