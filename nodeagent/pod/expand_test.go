package pod

import (
	"strings"
	"testing"
)

func lookupIn(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestExpand(t *testing.T) {
	lookup := lookupIn(map[string]string{"A": "1", "B": "$(A)", "": "empty"})
	for text, want := range map[string]string{
		"":             "",
		"plain":        "plain",
		"$(A)":         "1",
		"x$(A)y$(A)":   "x1y1",
		"$(B)":         "$(A)",
		"$(NONE)":      "$(NONE)",
		"$$(A)":        "$(A)",
		"$$$(A)":       "$1",
		"$A":           "$A",
		"$":            "$",
		"cost: $5":     "cost: $5",
		"$(A":          "$(A",
		"$($(A))":      "$($(A))",
		"a $ (A) $(A)": "a $ (A) 1",
	} {
		if got := expand(text, lookup); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, text := range []string{"$(A)", "$$", "$(", "$)", "$(A", "$$(A)", "x"} {
		f.Add(text)
	}
	lookup := lookupIn(map[string]string{"A": ""})
	f.Fuzz(func(t *testing.T, text string) {
		got := expand(text, lookup)
		if len(got) > len(text) {
			t.Errorf("%q grew to %q", text, got)
		}
		if !strings.Contains(text, "$") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
