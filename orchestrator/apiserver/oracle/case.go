package oracle

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Pair is the two servers, asked the same.
type Pair struct {
	Theirs, Ours *Server
	Ledger       *Ledger
	mu           sync.Mutex // names are given in one order
}

// Case is a story: requests that follow each other, told from the beginning when one is answered differently.
type Case struct {
	pair  *Pair
	ctx   context.Context
	steps []string
	// Differs is how many unexplained differences were met; causes tell them apart.
	Differs int
	causes  []string
}

// Case begins a story.
func (p *Pair) Case(ctx context.Context) *Case { return &Case{pair: p, ctx: ctx} }

// Both is what both servers said, with names.
type Both struct {
	Status    int // theirs
	Same      bool
	Theirs    any
	OurStatus int
}

// Object is their document, if it is an object.
func (b Both) Object() map[string]any {
	m, _ := b.Theirs.(map[string]any)
	return m
}

// OK says whether both succeeded.
func (b Both) OK() bool { return b.Status < 300 && b.OurStatus < 300 && b.Status >= 200 }

// Ask asks both servers at once and notes the differences. The error is that of a server which does not answer.
func (c *Case) Ask(r Request) (Both, error) {
	theirs, ours, err := c.pair.do(c.ctx, r)
	if err != nil {
		return Both{}, fmt.Errorf("%w\n%s", err, strings.Join(append(c.steps, r.Command()), "\n"))
	}
	c.pair.mu.Lock()
	differences, documents := c.pair.compare(r, theirs, ours)
	c.pair.mu.Unlock()
	t := aim(r)
	c.pair.Ledger.count(t)
	c.steps = append(c.steps, r.Command())
	unexplained := 0
	for _, d := range differences {
		cause := c.pair.Ledger.note(t, d, len(c.steps), func() string { return c.story(theirs, ours, documents) })
		if cause != "" {
			unexplained++
			c.causes = append(c.causes, cause)
		}
	}
	c.Differs += unexplained
	return Both{Status: theirs.Status, OurStatus: ours.Status, Same: unexplained == 0, Theirs: documents[0]}, nil
}

func (p *Pair) do(ctx context.Context, r Request) (theirs, ours Answer, err error) {
	var wg sync.WaitGroup
	var ourErr error
	wg.Go(func() { ours, ourErr = p.Ours.Do(ctx, r) })
	theirs, err = p.Theirs.Do(ctx, r)
	wg.Wait()
	if err == nil {
		err = ourErr
	}
	return theirs, ours, err
}

// story tells the case so far, with both last answers.
func (c *Case) story(theirs, ours Answer, documents [2]any) string {
	var b strings.Builder
	for _, step := range c.steps {
		fmt.Fprintln(&b, step)
	}
	for i, a := range []Answer{theirs, ours} {
		name := []string{"kube-apiserver", "wherry"}[i]
		text := string(a.Body)
		if documents[i] != nil {
			text = compact(documents[i])
		}
		fmt.Fprintf(&b, "%s: %d %s\n", name, a.Status, shorten(text, 1500))
		if w := a.Header.Values("Warning"); len(w) > 0 {
			fmt.Fprintf(&b, "    warnings: %s\n", strings.Join(w, ", "))
		}
	}
	return b.String()
}

// target is what a request is aimed at, for counting and for patterns.
type target struct{ method, resource, sub string }

func (t target) String() string {
	if t.sub != "" {
		return t.method + " " + t.resource + "/" + t.sub
	}
	return t.method + " " + t.resource
}

// aim reads a request's path.
func aim(r Request) target {
	path, query, _ := strings.Cut(r.Path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	t := target{method: r.Method, resource: path}
	if r.Method == http.MethodPatch {
		t.method = patchNames[r.Header["Content-Type"]]
	}
	if strings.Contains(query, "watch=") && r.Method == http.MethodGet {
		t.method = "WATCH"
	}
	if strings.Contains(r.Header["Accept"], "as=Table") {
		t.method = "TABLE"
	}
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = "."+parts[1]+"/"+parts[2], parts[3:]
	default:
		return t
	}
	if len(parts) > 2 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		parts = parts[2:]
	}
	t.resource = parts[0] + group
	if len(parts) > 2 {
		t.sub = strings.Join(parts[2:], "/")
	}
	return t
}

var patchNames = map[string]string{
	"application/json-patch+json": "JSONPATCH", "application/merge-patch+json": "MERGE",
	"application/strategic-merge-patch+json": "STRATEGIC", "application/apply-patch+yaml": "APPLY", "": "PATCH",
}
