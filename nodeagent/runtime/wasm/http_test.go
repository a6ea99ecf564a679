package wasm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/wasm/wasip1"
	"wherry/wasm/wasmtest"
)

// heard is a network that says where something listens.
type heard struct {
	loopback
	at chan string
}

func (h heard) Listen(ctx context.Context, network string, a netip.AddrPort) (net.Listener, error) {
	l, err := h.loopback.Listen(ctx, network, a)
	if err == nil {
		h.at <- l.Addr().String()
	}
	return l, err
}

// handler is a container that is an HTTP handler, and where it listens.
type handler struct {
	*Driver
	id   runtime.ID
	url  string
	log  string
	http *http.Client
}

func newHandler(t testing.TB, env ...string) *handler {
	t.Helper()
	at := make(chan string, 1)
	d := New(Config{
		ClassName: HTTPName, HTTP: true, Host: newHost(t),
		Network: func(runtime.Spec) (wasip1.Network, error) { return heard{at: at}, nil },
	})
	s := runtime.Spec{
		ID: runtime.ID{Pod: "uid", Container: "app"}, Image: image(t, "tool", wasmtest.Build(t, "guests/tool")), Args: []string{"cgi"},
		Ports: []runtime.Port{{Port: 80}}, Env: env, LogPath: filepath.Join(t.TempDir(), "0.log"),
	}
	if err := d.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h := &handler{Driver: d, id: s.ID, url: "http://" + <-at, log: s.LogPath, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() {
		h.http.CloseIdleConnections()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// ask returns status and body.
func (h *handler) ask(t testing.TB, r *http.Request) (int, string) {
	t.Helper()
	response, err := h.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func (h *handler) request(t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHTTPRequests(t *testing.T) {
	h := newHandler(t, "OWN=variable")
	text := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"body both ways": {"POST", "/echo", text, 201, text},
		"no body":        {"GET", "/none", "", 201, ""},
		"unread body":    {"POST", "/none", text, 201, ""},
		"redirect":       {"GET", "/found", "", 302, ""},
		"no CGI":         {"GET", "/bad", "", 502, "the handler did not answer\n"},
		"head":           {"HEAD", "/env", "", 201, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := h.ask(t, h.request(t, test.method, test.path, strings.NewReader(test.body)))
			if status != test.status || body != test.want {
				t.Errorf("status %d, %d bytes: %.100s", status, len(body), body)
			}
		})
	}
	r := h.request(t, "POST", "/echo", struct{ io.Reader }{strings.NewReader("of unknown length")})
	if status, _ := h.ask(t, r); status != http.StatusLengthRequired {
		t.Errorf("status %d", status)
	}
	counted := h.Requests()
	if len(counted) != 1 || counted[0].ID != h.id || counted[0].Codes[201] != 4 || counted[0].Codes[411] != 1 || counted[0].Sum <= 0 {
		t.Errorf("counted %+v", counted)
	}
	if err := h.Stop(t.Context(), h.id, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := h.Requests(); len(got) != 0 {
		t.Errorf("counted %+v of what has ended", got)
	}
	if s := h.find(h.id).status; s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("%+v", s)
	}
	log, err := os.ReadFile(h.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`stdout F 127.0.0.1 POST "/echo" HTTP/1.1 201 1048576 `, "stderr F asked for /echo", `stdout F 127.0.0.1 GET "/bad" HTTP/1.1 502 `,
		`stderr F the answer is no CGI: its header has a line "this is no header"`,
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
}

func TestHTTPVariables(t *testing.T) {
	h := newHandler(t, "OWN=variable")
	r := h.request(t, "PUT", "/env?a=b&c=%20d", strings.NewReader("12345"))
	r.Host = "shop.example:8080"
	for name, value := range map[string]string{"Content-Type": "text/x", "X-Two": "2", "Proxy": "evil", "X_Two": "evil", "Cookie": "a=1"} {
		r.Header[name] = []string{value}
	}
	_, body := h.ask(t, r)
	got := strings.Split(body, "\n")
	for _, want := range []string{
		"OWN=variable", "GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=PUT", "PATH_INFO=/env", "QUERY_STRING=a=b&c=%20d", "SCRIPT_NAME=",
		"CONTENT_LENGTH=5", "CONTENT_TYPE=text/x", "HTTP_X_TWO=2", "HTTP_COOKIE=a=1", "HTTP_HOST=shop.example:8080", "SERVER_NAME=shop.example",
		"SERVER_PORT=" + h.url[strings.LastIndex(h.url, ":")+1:], "SERVER_PROTOCOL=HTTP/1.1", "REMOTE_ADDR=127.0.0.1", "SERVER_SOFTWARE=wherry",
		"REQUEST_URI=/env?a=b&c=%20d",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
	if strings.Contains(body, "evil") {
		t.Errorf("a header passes for another:\n%s", body)
	}
}

// TestHTTPStreams: a line goes in when the answer to the one before is there.
func TestHTTPStreams(t *testing.T) {
	h := newHandler(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\none\n")
	answer := bufio.NewReader(conn)
	response, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(response.Body)
	for _, want := range []string{"one", "two"} {
		if !lines.Scan() || lines.Text() != "got "+want {
			t.Errorf("got %q", lines.Text())
		}
		if want == "one" {
			fmt.Fprint(conn, "two\n")
		}
	}
}

func TestHTTPLimits(t *testing.T) {
	h := newHandler(t, envConcurrency+"=1", envQueue+"=0", envTimeout+"=300ms")
	if status, body := h.ask(t, h.request(t, "GET", "/silent", nil)); status != http.StatusGatewayTimeout {
		t.Errorf("a spinning guest: status %d: %s", status, body)
	}
	response, err := h.http.Do(h.request(t, "GET", "/half", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if status, body := h.ask(t, h.request(t, "GET", "/none", nil)); status != http.StatusServiceUnavailable || body != "the handler is busy\n" {
		t.Errorf("a second request: status %d: %s", status, body)
	}
	if b, err := io.ReadAll(response.Body); err == nil || string(b) != "half\n" {
		t.Errorf("a guest that takes too long answered %q, %v", b, err)
	}
	if status, _ := h.ask(t, h.request(t, "GET", "/none", nil)); status != 201 {
		t.Errorf("afterwards: status %d", status)
	}
}

func TestHTTPClientGoes(t *testing.T) {
	h := newHandler(t, envConcurrency+"=1", envTimeout+"=1h")
	ctx, cancel := context.WithCancel(t.Context())
	response, err := h.http.Do(h.request(t, "GET", "/half", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = response.Body.Close()                                                    // it was canceled
	if status, _ := h.ask(t, h.request(t, "GET", "/none", nil)); status != 201 { // in the place of the other
		t.Errorf("status %d", status)
	}
	if _, memory := h.find(h.id).instance.Usage(); memory != 0 {
		t.Errorf("%d bytes are held while nobody asks", memory)
	}
}

func TestHTTPIsRefused(t *testing.T) {
	d := New(Config{HTTP: true, Host: newHost(t), Network: func(runtime.Spec) (wasip1.Network, error) { return loopback{}, nil }})
	defer d.Close()
	tool := image(t, "tool", wasmtest.Build(t, "guests/tool"))
	abi := wasmtest.Module{
		Imports: []wasmtest.Import{{Module: "http_handler", Name: "get_config", Params: []byte{wasmtest.I32, wasmtest.I32}, Results: []byte{wasmtest.I32}}},
		Funcs:   []wasmtest.Func{{Export: "handle_request", Results: []byte{wasmtest.I64}, Code: []byte{0x42, 0}}},
	}
	for want, s := range map[string]runtime.Spec{
		`no module "http_handler" here`: {Image: image(t, "abi", abi.Bytes()), Ports: []runtime.Port{{Port: 80}}},
		"needs a container port":        {Image: tool},
		"variable " + envTimeout:        {Image: tool, Ports: []runtime.Port{{Port: 80}}, Env: []string{envTimeout + "=soon"}},
		"it must be from 1":             {Image: tool, Ports: []runtime.Port{{Port: 80}}, Env: []string{envConcurrency + "=0"}},
		"is the request's body":         {Image: tool, Ports: []runtime.Port{{Port: 80}}, Stdin: true},
	} {
		s.ID, s.LogPath = runtime.ID{Pod: "uid", Container: "app"}, filepath.Join(t.TempDir(), "0.log")
		if err := d.Start(t.Context(), s); !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func BenchmarkCGI(b *testing.B) {
	h := newHandler(b)
	h.ask(b, h.request(b, "GET", "/none", nil))
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		begun := time.Now()
		if status, _ := h.ask(b, h.request(b, "GET", "/none", nil)); status != 201 {
			b.Fatal(status)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}
