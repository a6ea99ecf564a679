package oracle

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/template"
)

// Story is a case of a .http file: a title and requests.
type Story struct {
	Title    string
	Requests []Request
}

var (
	requestLine = regexp.MustCompile(`^(GET|HEAD|PUT|POST|PATCH|DELETE|OPTIONS|TRACE|BREW) (/\S*)$`)
	headerLine  = regexp.MustCompile(`^([A-Z][A-Za-z-]*): ?(.*)$`)
)

// ReadStories reads a file of requests, after it went through text/template with the functions repeat
// and count. A story begins with `## title`. A request is a line with method and path, lines with headers
// and, after an empty line, its body, which ends where the next request or story begins.
func ReadStories(path string) ([]Story, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err := expand(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []Story
	var request *Request
	inBody := false
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\n")
		if title, ok := strings.CutPrefix(bare, "## "); ok {
			all, request = append(all, Story{Title: title}), nil
			continue
		}
		if m := requestLine.FindStringSubmatch(bare); m != nil && len(all) > 0 {
			story := &all[len(all)-1]
			story.Requests = append(story.Requests, Request{Method: m[1], Path: m[2], Header: map[string]string{}})
			request, inBody = &story.Requests[len(story.Requests)-1], false
			continue
		}
		switch m := headerLine.FindStringSubmatch(bare); {
		case request == nil:
		case inBody:
			request.Body += line
		case m != nil:
			request.Header[m[1]] = m[2]
		default:
			inBody = true
		}
	}
	for _, s := range all {
		for i := range s.Requests {
			s.Requests[i].Body = strings.TrimRight(s.Requests[i].Body, "\n")
		}
	}
	return all, nil
}

func expand(text string) (string, error) {
	t, err := template.New("").Funcs(template.FuncMap{"repeat": strings.Repeat, "count": count}).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, nil)
	return b.String(), err
}

// count writes a format n times, with the numbers from 0 on.
func count(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(parts, "")
}
