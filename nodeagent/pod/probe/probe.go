// Package probe asks a container how it is: over HTTP, TCP or gRPC, or by a command. It counts answers, too.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Dial connects to an address, also one of a pod.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Target is the container that is asked.
type Target struct {
	Address string // of its pod
	Ports   []corev1.ContainerPort
	Dial    Dial
	Exec    Exec // nil: it runs no commands
}

// maxBody is how much of an answer is read; only its beginning appears in messages.
const (
	maxBody    = 10 << 10
	maxMessage = 200
)

// ErrUnsupported is the answer to handlers that this node does not have.
var ErrUnsupported = errors.New("this kind of probe is not supported")

// Check asks once. nil: it is well. The error says what was wrong, in a kubelet's words where it has any. ctx bounds it.
func Check(ctx context.Context, t Target, h corev1.ProbeHandler) error {
	switch {
	case h.HTTPGet != nil:
		status, body, err := Get(ctx, t, h.HTTPGet)
		if err == nil && (status < 200 || status >= 400) {
			err = fmt.Errorf("HTTP probe failed with statuscode: %d%s", status, excerpt(body))
		}
		return err
	case h.TCPSocket != nil:
		return t.tcp(ctx, h.TCPSocket)
	case h.GRPC != nil:
		return t.grpc(ctx, h.GRPC)
	case h.Exec != nil:
		return t.exec(ctx, h.Exec)
	}
	return ErrUnsupported
}

func (t Target) host(host string) string {
	if host != "" {
		return host
	}
	return t.Address
}

// port is the number of a port that may be given by its name.
func (t Target) port(p intstr.IntOrString) (string, error) {
	number := p.IntValue()
	if p.Type == intstr.String && number == 0 {
		for _, declared := range t.Ports {
			if declared.Name == p.StrVal {
				number = int(declared.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return "", fmt.Errorf("invalid port number: %v", p.String())
	}
	return strconv.Itoa(number), nil
}

func (t Target) tcp(ctx context.Context, a *corev1.TCPSocketAction) error {
	port, err := t.port(a.Port)
	if err != nil {
		return err
	}
	c, err := t.Dial(ctx, "tcp", net.JoinHostPort(t.host(a.Host), port))
	if err != nil {
		return err
	}
	return c.Close()
}

// Get sends the request of a probe or hook, and returns the status and the beginning of the body.
func Get(ctx context.Context, t Target, g *corev1.HTTPGetAction) (status int, body []byte, err error) {
	request, err := t.request(ctx, g)
	if err != nil {
		return 0, nil, err
	}
	from := request.URL.Hostname()
	client := &http.Client{
		Transport: t.transport(),
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Hostname() != from || len(via) >= 10 {
				return http.ErrUseLastResponse // away from the pod is not the pod's health
			}
			return nil
		},
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxBody)); err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	return response.StatusCode, body, nil
}

func excerpt(body []byte) string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), maxMessage)]), ""))
	if text == "" {
		return ""
	}
	return ": " + text
}

func (t Target) request(ctx context.Context, g *corev1.HTTPGetAction) (*http.Request, error) {
	port, err := t.port(g.Port)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(g.Path)
	if err != nil { // then it is meant literally
		u = &url.URL{Path: g.Path}
	}
	u.Scheme, u.Host = strings.ToLower(string(g.Scheme)), net.JoinHostPort(t.host(g.Host), port)
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "kube-probe/1.36")
	request.Header.Set("Accept", "*/*")
	for _, h := range g.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			request.Host = h.Value
			continue
		}
		request.Header.Add(h.Name, h.Value)
	}
	return request, nil
}

// transport makes connections for one request: what is probed is whether a new client is served. Certificates are not
// verified, as in Kubernetes: the pod's address is in none.
func (t Target) transport() *http.Transport {
	return &http.Transport{
		DialContext:         t.Dial,
		DisableKeepAlives:   true,
		DisableCompression:  true,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		TLSHandshakeTimeout: 10 * time.Second,
		Proxy:               nil,
	}
}
