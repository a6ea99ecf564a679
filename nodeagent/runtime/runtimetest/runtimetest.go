// Package runtimetest is what every driver must do, as tests.
package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/logfile"
)

// Driver is the driver under test and its guests. Of a guest's Spec the image, command, arguments, environment and
// mounts are used.
type Driver struct {
	// New returns a driver that knows no container. The suite closes it.
	New func(t *testing.T) runtime.Runtime
	// Reopen returns a driver as the next process of the agent would have it, after the old one was closed. nil:
	// containers end with the process.
	Reopen func(t *testing.T, old runtime.Runtime) runtime.Runtime
	// In runs a test, for example in a synctest bubble; nil: just so.
	In func(t *testing.T, test func(t *testing.T))

	Forever  runtime.Spec // runs until it is asked to end, and then ends at once
	Stubborn runtime.Spec // runs and does not end when it is asked to; an empty Image: there is no such guest
	Exits0   runtime.Spec // ends at once
	Exits3   runtime.Spec // ends at once with exit code 3
	Prints   runtime.Spec // prints the line "hello" on standard output and ends
	Invalid  runtime.Spec // can never be started

	// Commands for an exec in Forever; needed of a driver that is a runtime.Execer.
	Cat   []string // copies its standard input to its standard output and ends
	Exit3 []string // ends at once with exit code 3
	Sleep []string // runs until it is ended
}

// Run runs the suite.
func Run(t *testing.T, d Driver) {
	for _, tt := range []struct {
		name string
		test func(*suite)
	}{
		{"a started container is running", (*suite).running},
		{"starting twice is starting once", (*suite).twice},
		{"exit code 0 is Completed", (*suite).completed},
		{"another exit code is Error", (*suite).failed},
		{"output is in the log", (*suite).logged},
		{"a guest that ends when asked is not waited for", (*suite).stopped},
		{"a guest that does not end is ended after the grace", (*suite).killed},
		{"without grace a guest is ended at once", (*suite).killedAtOnce},
		{"stop and remove of unknown and exited containers do nothing", (*suite).idempotent},
		{"a removed container is forgotten, its log is not", (*suite).removed},
		{"what cannot run is ErrInvalid and leaves nothing", (*suite).invalid},
		{"attempts are containers of their own", (*suite).attempts},
		{"many containers at once", (*suite).many},
		{"no change is lost when nobody listens", (*suite).changes},
		{"usage of running containers only", (*suite).usage},
		{"containers are found again after a restart", (*suite).reopened},
		{"nothing runs after close", (*suite).closed},
		{"a command reads, writes and ends", (*suite).exec},
		{"a command's exit code is told", (*suite).execFails},
		{"a command ends when nobody wants it any more", (*suite).execCanceled},
		{"there is no exec in what does not run", (*suite).execNowhere},
		{"who attaches stays until the container ends", (*suite).attached},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := d.In
			if in == nil {
				in = func(t *testing.T, test func(*testing.T)) { test(t) }
			}
			in(t, func(t *testing.T) {
				s := &suite{T: t, d: d, rt: d.New(t), dir: t.TempDir()}
				defer func() {
					if err := s.rt.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}()
				tt.test(s)
			})
		})
	}
}

// patience is how long the suite waits for what must happen soon.
const patience = 30 * time.Second

type suite struct {
	*testing.T
	d   Driver
	rt  runtime.Runtime
	dir string
}

func (s *suite) spec(guest runtime.Spec, container string, attempt int) runtime.Spec {
	guest.ID = runtime.ID{Pod: "11111111-2222-3333-4444-555555555555", Container: container, Attempt: attempt}
	guest.Namespace, guest.PodName, guest.PodIP, guest.Hostname = "default", "web-0", "10.42.0.7", "web-0"
	guest.LogPath = s.log(guest.ID)
	return guest
}

func (s *suite) log(id runtime.ID) string {
	return filepath.Join(s.dir, id.Container, fmt.Sprintf("%d.log", id.Attempt))
}

func (s *suite) start(guest runtime.Spec, container string, attempt int) runtime.ID {
	s.Helper()
	spec := s.spec(guest, container, attempt)
	if err := s.rt.Start(s.Context(), spec); err != nil {
		s.Fatalf("start %s: %v", container, err)
	}
	return spec.ID
}

func (s *suite) find(id runtime.ID) (runtime.Status, bool) {
	s.Helper()
	all, err := s.rt.Observe(s.Context())
	if err != nil {
		s.Fatalf("observe: %v", err)
	}
	for _, status := range all {
		if status.ID == id {
			return status, true
		}
	}
	return runtime.Status{}, false
}

// await waits until the container has exited, woken by Changes.
func (s *suite) await(id runtime.ID) runtime.Status {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for {
		status, ok := s.find(id)
		if !ok {
			s.Fatalf("%v is not known", id)
		}
		if status.State == runtime.Exited {
			return status
		}
		select {
		case <-s.rt.Changes():
		case <-ctx.Done():
			s.Fatalf("%v has not exited: %+v", id, status)
		}
	}
}

func (s *suite) stop(id runtime.ID, grace time.Duration) (took time.Duration) {
	s.Helper()
	begun := time.Now()
	if err := s.rt.Stop(s.Context(), id, grace); err != nil {
		s.Fatalf("stop: %v", err)
	}
	return time.Since(begun)
}

func (s *suite) running() {
	before := time.Now()
	id := s.start(s.d.Forever, "app", 0)
	status, ok := s.find(id)
	if !ok || status.State != runtime.Running {
		s.Fatalf("got %+v", status)
	}
	if status.Started.Before(before.Add(-time.Second)) || status.Started.After(time.Now()) {
		s.Errorf("started at %v", status.Started)
	}
	if !strings.Contains(status.ContainerID, "://") || !status.Finished.IsZero() || status.Reason != "" {
		s.Errorf("got %+v", status)
	}
}

func (s *suite) twice() {
	id := s.start(s.d.Forever, "app", 0)
	first, _ := s.find(id)
	s.start(s.d.Forever, "app", 0)
	all, err := s.rt.Observe(s.Context())
	if err != nil || len(all) != 1 || all[0] != first {
		s.Errorf("was %+v, is %+v: %v", first, all, err)
	}
	s.stop(id, patience)
	s.start(s.d.Forever, "app", 0)
	if status, _ := s.find(id); status.State != runtime.Exited {
		s.Errorf("a container that had exited was started again: %+v", status)
	}
}

func (s *suite) completed() {
	status := s.await(s.start(s.d.Exits0, "app", 0))
	if status.ExitCode != 0 || status.Reason != "Completed" || status.Finished.Before(status.Started) {
		s.Errorf("got %+v", status)
	}
}

func (s *suite) failed() {
	status := s.await(s.start(s.d.Exits3, "app", 0))
	if status.ExitCode != 3 || status.Reason != "Error" {
		s.Errorf("got %+v", status)
	}
}

func (s *suite) logged() {
	id := s.start(s.d.Prints, "app", 0)
	s.await(id)
	s.wantLog(id)
}

func (s *suite) wantLog(id runtime.ID) {
	s.Helper()
	var out strings.Builder
	if err := logfile.Read(s.Context(), s.log(id), logfile.ReadOptions{}, &out); err != nil {
		s.Fatal(err)
	}
	if out.String() != "hello\n" {
		s.Errorf("log: %q", out.String())
	}
}

func (s *suite) stopped() {
	id := s.start(s.d.Forever, "app", 0)
	if took := s.stop(id, 2*patience); took > patience {
		s.Errorf("took %v", took)
	}
	if status, ok := s.find(id); !ok || status.State != runtime.Exited {
		s.Errorf("stop returned, but the container is %+v", status)
	}
}

func (s *suite) killed() {
	if s.d.Stubborn.Image.Kind == "" {
		s.Skip("this driver has no guest that does not end")
	}
	id := s.start(s.d.Stubborn, "app", 0)
	const grace = 300 * time.Millisecond
	if took := s.stop(id, grace); took < grace || took > patience {
		s.Errorf("took %v", took)
	}
	if status, _ := s.find(id); status.State != runtime.Exited || status.ExitCode != 137 {
		s.Errorf("got %+v", status)
	}
}

func (s *suite) killedAtOnce() {
	guest := s.d.Stubborn
	if guest.Image.Kind == "" {
		guest = s.d.Forever
	}
	id := s.start(guest, "app", 0)
	if took := s.stop(id, 0); took > patience {
		s.Errorf("took %v", took)
	}
	if status, _ := s.find(id); status.State != runtime.Exited {
		s.Errorf("got %+v", status)
	}
}

func (s *suite) idempotent() {
	unknown := runtime.ID{Pod: "nobody", Container: "app"}
	s.stop(unknown, patience)
	if err := s.rt.Remove(s.Context(), unknown); err != nil {
		s.Errorf("remove of an unknown container: %v", err)
	}
	id := s.start(s.d.Exits3, "app", 0)
	before := s.await(id)
	s.stop(id, patience)
	if after, _ := s.find(id); after != before {
		s.Errorf("stop changed an exited container from %+v to %+v", before, after)
	}
}

func (s *suite) removed() {
	id := s.start(s.d.Prints, "app", 0)
	s.await(id)
	for range 2 {
		if err := s.rt.Remove(s.Context(), id); err != nil {
			s.Fatal(err)
		}
	}
	if status, ok := s.find(id); ok {
		s.Errorf("still there: %+v", status)
	}
	s.wantLog(id)
}

func (s *suite) invalid() {
	err := s.rt.Start(s.Context(), s.spec(s.d.Invalid, "app", 0))
	if !errors.Is(err, runtime.ErrInvalid) {
		s.Errorf("got %v, want ErrInvalid", err)
	}
	if all, err := s.rt.Observe(s.Context()); err != nil || len(all) != 0 {
		s.Errorf("left over: %+v %v", all, err)
	}
}

func (s *suite) attempts() {
	first := s.start(s.d.Exits3, "app", 0)
	s.await(first)
	second := s.start(s.d.Forever, "app", 1)
	if status, _ := s.find(second); status.State != runtime.Running {
		s.Errorf("second: %+v", status)
	}
	if status, _ := s.find(first); status.State != runtime.Exited || status.ExitCode != 3 {
		s.Errorf("first: %+v", status)
	}
}

func (s *suite) many() {
	const n = 20
	errs := make(chan error, n)
	for i := range n {
		spec := s.spec(s.d.Forever, fmt.Sprintf("c%d", i), 0)
		go func() { errs <- s.rt.Start(s.Context(), spec) }()
	}
	for range n {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
	for i := range n {
		id := s.spec(s.d.Forever, fmt.Sprintf("c%d", i), 0).ID
		go func() { errs <- s.rt.Stop(s.Context(), id, patience) }()
	}
	for range n {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
	all, err := s.rt.Observe(s.Context())
	if err != nil || len(all) != n {
		s.Fatalf("%d of %d known: %v", len(all), n, err)
	}
	for _, status := range all {
		if status.State != runtime.Exited {
			s.Errorf("got %+v", status)
		}
	}
}

func (s *suite) changes() {
	const n = 20
	exited := map[runtime.ID]bool{}
	for i := range n {
		id := s.start(s.d.Forever, fmt.Sprintf("c%d", i), 0)
		s.stop(id, patience)
		exited[id] = true
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for len(exited) > 0 {
		select {
		case id := <-s.rt.Changes():
			delete(exited, id)
		case <-timeout.C:
			s.Fatalf("no change was announced of %v", exited)
		}
	}
}

func (s *suite) usage() {
	id := s.start(s.d.Forever, "app", 0)
	if u, err := s.rt.Usage(s.Context(), id); err != nil || u.CPU < 0 || u.MemoryBytes <= 0 {
		s.Errorf("got %+v, %v", u, err)
	}
	unknown := runtime.ID{Pod: "nobody", Container: "app"}
	if _, err := s.rt.Usage(s.Context(), unknown); !errors.Is(err, runtime.ErrNotFound) {
		s.Errorf("unknown: %v", err)
	}
}

func (s *suite) reopened() {
	if s.d.Reopen == nil {
		s.Skip("containers end with the process")
	}
	run := s.start(s.d.Forever, "run", 0)
	exit := s.start(s.d.Exits3, "exit", 0)
	wantExit, wantRun := s.await(exit), s.one(run)
	if err := s.rt.Close(); err != nil {
		s.Fatal(err)
	}
	s.rt = s.d.Reopen(s.T, s.rt)
	if got := s.one(run); got != wantRun {
		s.Errorf("was %+v, is %+v", wantRun, got)
	}
	if got := s.one(exit); got != wantExit {
		s.Errorf("was %+v, is %+v", wantExit, got)
	}
	s.stop(run, patience)
	if got := s.one(run); got.State != runtime.Exited {
		s.Errorf("got %+v", got)
	}
}

func (s *suite) one(id runtime.ID) runtime.Status {
	s.Helper()
	status, ok := s.find(id)
	if !ok {
		s.Fatalf("%v is not known", id)
	}
	return status
}

// closed ends with containers running: Run closes, and -race and the bubble tell what is left over.
func (s *suite) closed() {
	for i := range 3 {
		s.start(s.d.Forever, fmt.Sprintf("c%d", i), 0)
	}
	if s.d.Stubborn.Image.Kind != "" {
		s.start(s.d.Stubborn, "stubborn", 0)
	}
}
