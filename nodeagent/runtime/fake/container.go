package fake

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"wherry/nodeagent/runtime"
)

// script is what the arguments say.
type script struct {
	run        time.Duration // negative: for ever
	term       time.Duration
	code       int
	ignoreTerm bool
	oom        bool
	log        string
	message    string
	invalid    string
	startError string
}

func parse(words []string) (script, error) {
	s := script{run: -1}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "run":
			s.run, err = time.ParseDuration(value)
		case "exit":
			s.code, err = strconv.Atoi(value)
		case "term":
			s.term, err = time.ParseDuration(value)
		case "ignore-term":
			s.ignoreTerm = true
		case "oom":
			s.oom = true
		case "log":
			s.log = value
		case "message":
			s.message = value
		case "invalid":
			s.invalid = value
		case "start-error":
			s.startError = value
		}
		if err != nil {
			return script{}, fmt.Errorf("%w: %s: %w", runtime.ErrInvalid, word, err)
		}
	}
	return s, nil
}

// refusal is why the container cannot be started.
func (s script) refusal() error {
	if s.invalid != "" {
		return fmt.Errorf("%w: %s", runtime.ErrInvalid, s.invalid)
	}
	if s.startError != "" {
		return errors.New(s.startError)
	}
	return nil
}

// container runs in a goroutine of its own until it ends.
type container struct {
	m      *Machine
	spec   runtime.Spec
	script script

	asked chan struct{} // holds a token when it was asked to end
	kill  chan int      // holds the exit code when it was ended from outside
	ended chan struct{}

	status runtime.Status // guarded by m.mu
}

func newContainer(m *Machine, spec runtime.Spec, s script) *container {
	return &container{
		m: m, spec: spec, script: s,
		asked: make(chan struct{}, 1),
		kill:  make(chan int, 1),
		ended: make(chan struct{}),
		status: runtime.Status{
			ID: spec.ID, State: runtime.Running, Started: time.Now(), ContainerID: "fake://" + name(spec.ID),
		},
	}
}

func (c *container) terminate() {
	select {
	case c.asked <- struct{}{}:
	default: // asked before
	}
}

func (c *container) end(code int) {
	select {
	case c.kill <- code:
	default: // ended before
	}
}

func (c *container) run() {
	defer close(c.ended)
	c.exited(c.wait())
}

// wait returns the exit code when it is time to end.
func (c *container) wait() int {
	var done <-chan time.Time
	if c.script.run >= 0 {
		done = time.After(c.script.run)
	}
	var termed <-chan time.Time
	for {
		select {
		case code := <-c.kill:
			return code
		case <-done:
			return c.script.code
		case <-termed:
			return c.script.code
		case <-c.asked:
			if !c.script.ignoreTerm && termed == nil {
				termed = time.After(c.script.term)
			}
		}
	}
}

func (c *container) exited(code int) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	s := &c.status
	s.State, s.Finished, s.ExitCode, s.Reason = runtime.Exited, time.Now(), code, "Error"
	switch {
	case c.script.oom:
		s.ExitCode, s.Reason = 137, "OOMKilled"
	case code == 0:
		s.Reason = "Completed"
	}
	s.Message = c.script.message
	if path := c.spec.TerminationMessagePath; path != "" && c.script.message == "" {
		// A guest that left no file left no message.
		data, _ := os.ReadFile(path)
		s.Message = string(data)
	}
	c.m.driver.queue.Put(s.ID)
}
