package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func handler(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ok":
	case "/header":
		if r.Host != "shop.example" || r.Header.Get("X-A") != "1" || r.Header.Get("User-Agent") != "kube-probe/1.36" {
			w.WriteHeader(http.StatusBadRequest)
		}
	case "/bad":
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, strings.Repeat("long story ", 1000))
	case "/away":
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
	case "/near":
		http.Redirect(w, r, "/bad", http.StatusFound)
	case "/slow":
		<-r.Context().Done()
	}
}

func target(s *httptest.Server) Target {
	port := s.Listener.Addr().(*net.TCPAddr).Port
	return Target{
		Address: "127.0.0.1", Dial: new(net.Dialer).DialContext,
		Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}},
	}
}

func TestHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(handler))
	defer s.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(handler))
	defer secure.Close()
	web := intstr.FromString("web")
	headers := []corev1.HTTPHeader{{Name: "host", Value: "shop.example"}, {Name: "X-A", Value: "1"}}
	tests := []struct {
		name string
		get  corev1.HTTPGetAction
		want string // in the error; "": none
	}{
		{"ok", corev1.HTTPGetAction{Path: "/ok", Port: web}, ""},
		{"no slash", corev1.HTTPGetAction{Path: "ok", Port: web}, ""},
		{"headers", corev1.HTTPGetAction{Path: "/header", Port: web, HTTPHeaders: headers}, ""},
		{"bad", corev1.HTTPGetAction{Path: "/bad", Port: web}, "HTTP probe failed with statuscode: 503: long story"},
		{"redirected away", corev1.HTTPGetAction{Path: "/away", Port: web}, ""},
		{"redirected", corev1.HTTPGetAction{Path: "/near", Port: web}, "503"},
		{"slow", corev1.HTTPGetAction{Path: "/slow", Port: web}, "context deadline exceeded"},
		{"unknown port", corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromString("none")}, "invalid port number: none"},
		{"TLS", corev1.HTTPGetAction{Path: "/ok", Port: web, Scheme: corev1.URISchemeHTTPS}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wait := 10 * time.Second
			if tt.name == "slow" {
				wait = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			to := target(s)
			if tt.get.Scheme == corev1.URISchemeHTTPS {
				to = target(secure)
			}
			check(t, Check(ctx, to, corev1.ProbeHandler{HTTPGet: &tt.get}), tt.want)
		})
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	case err != nil && len(err.Error()) > 500:
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

func TestTCP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(handler))
	to := target(s)
	probe := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(to.Ports[0].ContainerPort)}}
	check(t, Check(t.Context(), to, probe), "")
	s.Close()
	if err := Check(t.Context(), to, probe); err == nil {
		t.Error("nobody listens, and it is well")
	}
}

func TestExec(t *testing.T) {
	run := func(ctx context.Context, command []string, output io.Writer) (int, error) {
		switch command[0] {
		case "fail":
			fmt.Fprint(output, "it is ill")
			return 1, nil
		case "broken":
			return 0, errors.New("no such container")
		case "sleep":
			<-ctx.Done()
			return 137, nil
		case "flood":
			fmt.Fprint(output, strings.Repeat("x", 2*maxBody))
		}
		return 0, nil
	}
	for command, want := range map[string]string{
		"ok": "", "fail": "it is ill", "flood": "", "broken": "no such container", "sleep": `command timed out: "sleep" timed out after 0s`,
	} {
		wait := 10 * time.Second
		if command == "sleep" {
			wait = 10 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err := Check(ctx, Target{Exec: run}, corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{command}}})
		cancel()
		check(t, err, want)
		if errors.Is(err, ErrUnknown) != (command == "broken") {
			t.Errorf("%s: %v", command, err)
		}
	}
	if output, _, _ := Run(t.Context(), run, []string{"flood"}); len(output) != maxBody {
		t.Errorf("%d bytes were kept", len(output))
	}
	check(t, Check(t.Context(), Target{}, corev1.ProbeHandler{Exec: &corev1.ExecAction{}}), ErrUnsupported.Error())
}

// health is a gRPC health service, by hand.
func health(answers map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		service := ""
		if err == nil && len(body) > 7 {
			service = string(body[7:])
		}
		answer, ok := answers[service]
		w.Header().Set("Content-Type", "application/grpc")
		if !ok || r.URL.Path != "/grpc.health.v1.Health/Check" {
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "unknown service")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write(frame([]byte(answer)))
		w.Header().Set("Grpc-Status", "0")
	}
}

func TestGRPC(t *testing.T) {
	s := httptest.NewUnstartedServer(health(map[string]string{
		"": "\x08\x01", "sick": "\x08\x02", "odd": "\x08", "newer": "\x12\x01x\x08\x01",
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	for service, want := range map[string]string{
		"": "", "newer": "", "sick": "service unhealthy (responded with 2)", "odd": errHealth.Error(), "none": "status 5: unknown service",
	} {
		t.Run(service, func(t *testing.T) {
			to := target(s)
			probe := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: to.Ports[0].ContainerPort, Service: &service}}
			check(t, Check(t.Context(), to, probe), want)
		})
	}
	plain := httptest.NewServer(http.HandlerFunc(handler))
	defer plain.Close()
	probe := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: target(plain).Ports[0].ContainerPort}}
	check(t, Check(t.Context(), target(plain), probe), "failed to connect service")
}

func FuzzHealthStatus(f *testing.F) {
	for _, b := range []string{"", "\x00\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x00", "\x01\x00\x00\x00\x01\x08", "\x00\xff\xff\xff\xff"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if status, err := healthStatus(b); err == nil && status == serving && len(b) < 7 {
			t.Errorf("%q is serving", b)
		}
	})
}

func TestTally(t *testing.T) {
	for _, tt := range []struct {
		tally   Tally
		answers string // + and -
		want    string // the verdict after each; . is none
	}{
		{Tally{}, "+-+", "+-+"},
		{Tally{Success: 2, Failure: 3}, "+--++---+++", "....+..-.++"},
	} {
		got := ""
		for _, a := range tt.answers {
			if tt.tally.Count(a == '+') {
				got += string(a)
			} else {
				got += "."
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.answers, got, tt.want)
		}
	}
}
