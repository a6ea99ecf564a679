package oracle

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestStories goes through testdata/*.http. $NS in them is a namespace of the story's own.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.http")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	n := 0
	for _, file := range files {
		stories, err := ReadStories(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, story := range stories {
			n++
			c := pair.Case(t.Context())
			namespace := fmt.Sprintf("story-%d", n)
			if err := c.Namespace(namespace); err != nil {
				t.Fatal(err)
			}
			c.steps = append(c.steps, "# "+story.Title)
			for _, r := range story.Requests {
				r.Path, r.Body = strings.ReplaceAll(r.Path, "$NS", namespace), strings.ReplaceAll(r.Body, "$NS", namespace)
				if _, err := c.Ask(r); err != nil {
					t.Errorf("%s: %v", story.Title, err)
				}
			}
		}
	}
}
