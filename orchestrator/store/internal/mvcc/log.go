package mvcc

import (
	"sort"
	"strings"

	"wherry/orchestrator/store"
)

// Bounds of one batch that a watcher hands out. A single commit may exceed them.
const (
	BatchEvents = 1024
	BatchBytes  = 1 << 20
)

// Commit is all that one revision changed, in the order of its operations.
type Commit struct {
	Revision store.Revision
	Events   []store.Event
}

// Size is what the commit keeps in memory, about, in bytes.
func (c Commit) Size() int {
	n := 0
	for i := range c.Events {
		n += EventSize(&c.Events[i])
	}
	return n
}

// EventSize is what the event keeps in memory, about, in bytes.
func EventSize(e *store.Event) int {
	return 160 + len(e.Entry.Key) + len(e.Entry.Value) + len(e.Prev.Value)
}

// Log holds the newest commits in revision order. Revisions may have gaps.
type Log struct {
	// From is the revision after which the log is complete: everything between From and
	// the oldest commit changed nothing.
	From    store.Revision
	commits []Commit
	events  int
	bytes   int
}

// Append adds a commit newer than all others.
func (l *Log) Append(c Commit) {
	l.commits = append(l.commits, c)
	l.events += len(c.Events)
	l.bytes += c.Size()
}

// Oldest returns the oldest commit.
func (l *Log) Oldest() (Commit, bool) {
	if len(l.commits) == 0 {
		return Commit{}, false
	}
	return l.commits[0], true
}

// Drop forgets the oldest commit.
func (l *Log) Drop() {
	c := l.commits[0]
	l.commits[0] = Commit{}
	l.commits = l.commits[1:]
	l.From = c.Revision
	l.events -= len(c.Events)
	l.bytes -= c.Size()
}

// Exceeds says whether the log is larger than one of the bounds.
func (l *Log) Exceeds(events, bytes int) bool { return l.events > events || l.bytes > bytes }

// Scan returns the events under prefix of the commits after the revision, a batch of
// whole commits, and the revision through which it has looked: newest if that is all.
func (l *Log) Scan(prefix string, after, newest store.Revision) ([]store.Event, store.Revision) {
	var b Batch
	first := sort.Search(len(l.commits), func(i int) bool { return l.commits[i].Revision > after })
	for _, c := range l.commits[first:] {
		if b.Full() {
			return b.Events, b.Through
		}
		b.Through = c.Revision
		for i := range c.Events {
			b.Add(prefix, &c.Events[i])
		}
	}
	return b.Events, newest
}

// Batch gathers the events that a watcher hands out next.
type Batch struct {
	Events  []store.Event
	Through store.Revision // the last commit that has been looked at
	bytes   int
}

// Add takes the event if it is under prefix.
func (b *Batch) Add(prefix string, e *store.Event) {
	if strings.HasPrefix(e.Entry.Key, prefix) {
		b.Events = append(b.Events, *e)
		b.bytes += EventSize(e)
	}
}

// Full says that no other commit should be added.
func (b *Batch) Full() bool { return len(b.Events) >= BatchEvents || b.bytes >= BatchBytes }
