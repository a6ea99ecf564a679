package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
)

const crashEnv = "WHERRY_TEST_CRASH_STORE"

// TestMain is also the process that is killed: it writes to the store that the
// environment names, and tells what was acknowledged and what was shown.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints lines "acked|lazy revision key value" after a commit was
// answered and "shown revision" after a watcher was given it.
func writeUntilKilled(path string) error {
	s, err := boltstore.Open(path, boltstore.Options{HistoryEvents: 300})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	failed := make(chan error)
	go func() { failed <- show(s, say) }()
	for n := range 6 {
		go func() { failed <- keepWriting(s, n, say) }()
	}
	return <-failed
}

func show(s store.Store, say func(string, ...any)) error {
	w, err := s.Watch(context.Background(), "", s.Revision())
	if err != nil {
		return err
	}
	for {
		events, _, err := w.Next(context.Background())
		if err != nil {
			return err
		}
		for _, e := range events {
			say("shown %d", e.Entry.Revision)
		}
	}
}

// keepWriting writes growing numbers to keys of its own; writers 4 and 5 are lazy.
func keepWriting(s store.Store, n int, say func(string, ...any)) error {
	word := "acked"
	if n >= 4 {
		word = "lazy"
	}
	for i := 0; ; i++ {
		key, value := fmt.Sprintf("k/%d/%d", n, i%5), fmt.Sprintf("%s-%d", word, i)
		rev, err := s.Commit(context.Background(),
			store.Op{Key: key, Value: []byte(value), Lazy: n >= 4},
			store.Op{Key: key + "/twin", Value: []byte(value), Lazy: n >= 4})
		if err != nil {
			return err
		}
		say("%s %d %s %s", word, rev, key, value)
	}
}

// checker knows what killed processes have told.
type checker struct {
	t       *testing.T
	acked   map[string]acked // by key: the newest durable one
	given   map[store.Revision]string
	newest  store.Revision // acknowledged or shown
	durable store.Revision // acknowledged as durable
}

type acked struct {
	rev   store.Revision
	value string
}

// hear takes one line of the process of this round.
func (c *checker) hear(line string, before store.Revision) {
	var word, key, value string
	var rev store.Revision
	n, err := fmt.Sscan(line, &word, &rev, &key, &value)
	if n < 2 {
		c.t.Fatalf("the process said %q: %v", line, err)
	}
	if rev <= before {
		c.t.Errorf("%q, but revision %d had been given before a crash", line, before)
	}
	c.newest = max(c.newest, rev)
	if word == "shown" {
		return
	}
	if other, ok := c.given[rev]; ok {
		c.t.Errorf("revision %d was given to %q and to %q", rev, other, line)
	}
	c.given[rev] = line
	if word == "acked" {
		c.durable = max(c.durable, rev)
		if rev > c.acked[key].rev {
			c.acked[key] = acked{rev, value}
		}
	}
}

// check opens what the process left.
func (c *checker) check(path string) {
	s, err := boltstore.Open(path, boltstore.Options{HistoryEvents: 300})
	if err != nil {
		c.t.Fatalf("open after a crash: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			c.t.Error(err)
		}
	}()
	if s.Revision() <= c.newest {
		c.t.Errorf("the store is at %d, %d was given away", s.Revision(), c.newest)
	}
	for key, want := range c.acked {
		c.entry(s, key, want)
	}
	if _, err := s.Watch(c.t.Context(), "", c.durable); err != nil {
		c.t.Errorf("a watch after the last durable commit cannot go on: %v", err)
	}
	if c.newest > c.durable {
		c.history(s)
	}
}

func (c *checker) entry(s store.Store, key string, want acked) {
	e, err := s.Get(c.t.Context(), key)
	if err != nil || e.Revision < want.rev || e.Revision == want.rev && string(e.Value) != want.value {
		c.t.Errorf("%s is %q at %d (%v), acknowledged was %q at %d", key, e.Value, e.Revision, err, want.value, want.rev)
	}
	twin, err := s.Get(c.t.Context(), key+"/twin")
	if err != nil || string(twin.Value) != string(e.Value) || twin.Revision != e.Revision {
		c.t.Errorf("%s: half a commit: %q at %d and %q at %d, %v", key, e.Value, e.Revision, twin.Value, twin.Revision, err)
	}
}

// history: what was shown is either still known, in full, or cannot be resumed.
func (c *checker) history(s store.Store) {
	_, err := s.Watch(c.t.Context(), "", c.newest)
	if err == nil {
		page, err := s.List(c.t.Context(), "", store.ListOptions{Revision: c.newest})
		if err != nil {
			c.t.Errorf("list at %d: %v", c.newest, err)
		}
		last := store.Revision(0)
		for _, e := range page.Entries {
			last = max(last, e.Revision)
		}
		if last != c.newest {
			c.t.Errorf("%d was shown and is lost, but a watch may go on after it", c.newest)
		}
	} else if !errors.Is(err, store.ErrCompacted) {
		c.t.Errorf("watch after %d: %v", c.newest, err)
	}
}

func TestKilledAgainAndAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	c := &checker{t: t, acked: map[string]acked{}, given: map[store.Revision]string{}}
	for round := range 10 {
		before := c.newest
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashEnv+"="+path)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killAfter(t, c, cmd, stdout, 50+37*round, before)
		if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("round %d ended by itself: %v: %s", round, err, &stderr)
		}
		c.check(path)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d commits over 10 kills, newest %d", len(c.given), c.newest)
}

// killAfter kills the process when it has said so many lines, and hears out what it had
// said by then.
func killAfter(t *testing.T, c *checker, cmd *exec.Cmd, stdout io.Reader, lines int, before store.Revision) {
	t.Helper()
	r := bufio.NewReader(stdout)
	for n := 0; ; n++ {
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return // a line that is not whole was not said
		}
		c.hear(strings.TrimSpace(line), before)
	}
}
