package oracle

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Accepted is the content of differences.txt: blocks of a line with a pattern (a regular expression over
// lines as Ledger reports them), and indented lines that say why Wherry is right to differ.
type Accepted []acceptance

type acceptance struct {
	pattern *regexp.Regexp
	why     string
}

// ReadAccepted reads a file of accepted differences. A pattern without a reason is an error.
func ReadAccepted(path string) (Accepted, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all Accepted
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " ") && len(all) > 0:
			all[len(all)-1].why += strings.TrimSpace(line)
		default:
			pattern, err := regexp.Compile(line)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			all = append(all, acceptance{pattern: pattern})
		}
	}
	for _, a := range all {
		if a.why == "" {
			return nil, fmt.Errorf("%s: nothing says why %q is right", path, a.pattern)
		}
	}
	return all, nil
}

func (a Accepted) explain(line string) (pattern string, ok bool) {
	for _, one := range a {
		if one.pattern.MatchString(line) {
			return one.pattern.String(), true
		}
	}
	return "", false
}

func (a Accepted) patterns() []string {
	out := make([]string, len(a))
	for i, one := range a {
		out[i] = one.pattern.String()
	}
	return out
}
