package oracle

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Ledger counts what was compared and collects what differed.
type Ledger struct {
	mu        sync.Mutex
	accepted  Accepted
	asked     map[string]int      // by resource
	found     map[string]*finding // unexplained, by what makes them the same
	explained map[string]int      // by pattern
}

// finding is a difference that was met, perhaps often.
type finding struct {
	line  string
	count int
	steps int    // of the story
	story string // the shortest case in which it was met, as commands with both answers
}

func newLedger(accepted Accepted) *Ledger {
	return &Ledger{accepted: accepted, asked: map[string]int{}, found: map[string]*finding{}, explained: map[string]int{}}
}

// count notes that a request was compared.
func (l *Ledger) count(t target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[t.resource]++
}

// note takes a difference; story tells in so many steps how it came to be. It returns what all differences of
// probably the same cause have in common; "": it is accepted.
func (l *Ledger) note(t target, d Difference, steps int, story func() string) string {
	line := fmt.Sprintf("%s %s", t, d)
	line = strings.ReplaceAll(line, "\n", "␤")
	l.mu.Lock()
	defer l.mu.Unlock()
	if pattern, ok := l.accepted.explain(line); ok {
		l.explained[pattern]++
		return ""
	}
	key := alike(line)
	f := l.found[key]
	if f == nil {
		f = &finding{}
		l.found[key] = f
	}
	if f.count == 0 || steps < f.steps {
		f.line, f.steps, f.story = line, steps, story()
	}
	f.count++
	return key
}

// known are the causes of all differences so far.
func (l *Ledger) known() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]bool, len(l.found))
	for key := range l.found {
		all[key] = true
	}
	return all
}

var (
	quoted  = regexp.MustCompile(`\\?"[^"\\]*\\?"|⟨[^⟩]*⟩`)
	numbers = regexp.MustCompile(`\d+`)
)

// alike is the same for differences that probably have the same cause.
func alike(line string) string {
	return numbers.ReplaceAllString(quoted.ReplaceAllString(line, `""`), "0")
}

// Requests is how many requests were compared.
func (l *Ledger) Requests() int {
	n := 0
	for _, count := range l.asked {
		n += count
	}
	return n
}

// Report writes what was compared, and every unexplained difference, most frequent first. It returns
// how many there are.
func (l *Ledger) Report(w io.Writer, stories bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(w, "%d requests compared:", l.Requests())
	for _, resource := range slices.Sorted(maps.Keys(l.asked)) {
		fmt.Fprintf(w, " %s %d,", resource, l.asked[resource])
	}
	fmt.Fprintln(w)
	for _, pattern := range l.accepted.patterns() {
		fmt.Fprintf(w, "accepted %d times: %s\n", l.explained[pattern], pattern)
	}
	all := slices.SortedFunc(maps.Values(l.found), func(a, b *finding) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.line, b.line))
	})
	for _, f := range all {
		fmt.Fprintf(w, "\n%d times: %s\n", f.count, f.line)
		if stories {
			fmt.Fprint(w, indent(f.story))
		}
	}
	return len(all)
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n    ") + "\n"
}
