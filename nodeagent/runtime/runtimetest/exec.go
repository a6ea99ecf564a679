package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"wherry/nodeagent/runtime"
)

// execer is the driver with a container that runs, or skips the test.
func (s *suite) execer() (runtime.Execer, runtime.ID) {
	x, ok := s.rt.(runtime.Execer)
	if !ok {
		s.Skip("the driver takes no exec and attach")
	}
	if s.d.Cat == nil || s.d.Exit3 == nil || s.d.Sleep == nil {
		s.Fatal("the suite needs commands for an exec")
	}
	return x, s.start(s.d.Forever, "app", 0)
}

func (s *suite) exec() {
	x, id := s.execer()
	var out bytes.Buffer
	code, err := x.Exec(s.Context(), id, s.d.Cat, runtime.Console{Stdin: io.NopCloser(strings.NewReader("some text")), Stdout: &out})
	if err != nil || code != 0 || out.String() != "some text" {
		s.Errorf("code %d, %v, output %q", code, err, out.String())
	}
}

func (s *suite) execFails() {
	x, id := s.execer()
	if code, err := x.Exec(s.Context(), id, s.d.Exit3, runtime.Console{}); err != nil || code != 3 {
		s.Errorf("code %d, %v", code, err)
	}
	if status := s.one(id); status.State != runtime.Running {
		s.Errorf("the container is %s", status.State)
	}
}

func (s *suite) execCanceled() {
	x, id := s.execer()
	ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
	defer cancel()
	_, _ = x.Exec(ctx, id, s.d.Sleep, runtime.Console{}) // that it returns is what counts
	if s.Context().Err() != nil {
		s.Error("it outlived its context")
	}
}

func (s *suite) execNowhere() {
	x, id := s.execer()
	id.Attempt = 7
	if _, err := x.Exec(s.Context(), id, s.d.Cat, runtime.Console{}); !errors.Is(err, runtime.ErrNotFound) {
		s.Errorf("exec: %v", err)
	}
	if err := x.Attach(s.Context(), id, runtime.Console{}); !errors.Is(err, runtime.ErrNotFound) {
		s.Errorf("attach: %v", err)
	}
}

func (s *suite) attached() {
	x, id := s.execer()
	done := make(chan error, 1)
	go func() { done <- x.Attach(s.Context(), id, runtime.Console{Stdout: new(bytes.Buffer)}) }()
	select {
	case err := <-done:
		s.Fatalf("it returned at once: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := s.rt.Stop(s.Context(), id, time.Second); err != nil {
		s.Fatal(err)
	}
	if err := <-done; err != nil {
		s.Error(err)
	}
}
