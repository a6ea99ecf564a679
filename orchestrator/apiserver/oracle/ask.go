package oracle

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is what both servers are asked. Path and Body may hold names (see names): each
// server gets its own values for them.
type Request struct {
	Method, Path string
	// Header, beside what it says: Content-Type is application/json where there is a body.
	Header map[string]string
	Body   string
	// Until ends the answer, a watch, after the line that holds it.
	Until string
}

// Answer is what one server says.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Bounds of one answer.
const (
	answerTime  = 30 * time.Second
	answerBytes = 64 << 20
)

// Do asks the server.
func (s *Server) Do(ctx context.Context, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.Method, s.URL+s.names.real(r.Path), strings.NewReader(s.names.real(r.Body)))
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("User-Agent", "oracle")
	if r.Body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.Header {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("asking %s: %w", s.Name, err)
	}
	defer response.Body.Close()
	a := Answer{Status: response.StatusCode, Header: response.Header}
	if a.Body, err = r.read(response.Body); err != nil {
		return Answer{}, fmt.Errorf("reading the answer of %s: %w", s.Name, err)
	}
	return a, nil
}

func (r Request) read(body io.Reader) ([]byte, error) {
	body = io.LimitReader(body, answerBytes)
	if r.Until == "" {
		return io.ReadAll(body)
	}
	var all []byte
	for lines := bufio.NewReader(body); ; {
		line, err := lines.ReadBytes('\n')
		all = append(all, line...)
		if err == io.EOF || bytes.Contains(line, []byte(r.Until)) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Command is the request as a command of a shell that knows $SERVER.
func (r Request) Command() string {
	var b strings.Builder
	b.WriteString("curl")
	if r.Method != "GET" {
		fmt.Fprintf(&b, " -X %s", r.Method)
	}
	fmt.Fprintf(&b, " %s", quote("$SERVER"+r.Path))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, " -H %s", quote(name+": "+r.Header[name]))
	}
	if r.Body != "" {
		if r.Header["Content-Type"] == "" {
			b.WriteString(" -H 'Content-Type: application/json'")
		}
		fmt.Fprintf(&b, " --data-binary %s", quote(shorten(r.Body, 4000)))
	}
	return b.String()
}

// quote quotes for a shell that may replace $SERVER.
func quote(s string) string {
	if rest, ok := strings.CutPrefix(s, "$SERVER"); ok {
		return `"$SERVER"` + quote(rest)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s... (%d bytes)", s[:most], len(s))
}
