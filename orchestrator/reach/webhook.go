package reach

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Webhooks posts to webhooks and keeps the connections. The zero value reaches those with a URL.
type Webhooks struct {
	// Dial connects to a port of a Service; nil: Services cannot be reached.
	Dial func(ctx context.Context, namespace, name string, port int32) (net.Conn, error)

	mu      sync.Mutex
	clients map[[sha256.Size]byte]*http.Client
}

// Webhook says where a webhook is and whom it may be: clientConfig of admissionregistration.k8s.io and
// apiextensions.k8s.io.
type Webhook struct {
	URL      *string
	Service  *Service // if there is no URL
	CABundle []byte   // PEM; none: the machine's authorities
	// Timeout is told to the webhook, if it is positive; the context's counts.
	Timeout time.Duration
}

// Service is a port of a Service.
type Service struct {
	Namespace, Name string
	Path            *string
	Port            *int32 // 443 by default
}

// maxClients bounds how many webhooks' connections are kept; beyond it all begin anew.
const maxClients = 64

// Post sends JSON and returns the answer, which may have limit bytes.
func (w *Webhooks) Post(ctx context.Context, to Webhook, body []byte, limit int64) ([]byte, error) {
	at, err := w.place(to)
	if err != nil {
		return nil, err
	}
	client, err := w.client(at, to.CABundle)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	r.Header.Set("User-Agent", "kube-apiserver-admission")
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was read, or is given up
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case int64(len(answer)) > limit:
		return nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, fmt.Errorf("the server answered %s", response.Status)
	}
	return answer, nil
}

// place is a webhook's URL, the name in its certificate and how it is dialed; nil: as the URL says.
type place struct {
	url  *url.URL
	name string
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (w *Webhooks) place(to Webhook) (place, error) {
	at := place{}
	switch s := to.Service; {
	case to.URL != nil:
		u, err := url.Parse(*to.URL)
		if err != nil {
			return at, err
		}
		at.url, at.name = u, u.Hostname()
	case s == nil:
		return at, errors.New("webhook configuration must have either service or URL")
	case w.Dial == nil:
		return at, errors.New("this server cannot reach Services")
	default:
		port := int32(443)
		if s.Port != nil {
			port = *s.Port
		}
		at.name = s.Name + "." + s.Namespace + ".svc"
		at.url = &url.URL{Scheme: "https", Host: net.JoinHostPort(at.name, strconv.Itoa(int(port)))}
		if s.Path != nil {
			u, err := url.Parse(*s.Path)
			if err != nil {
				return at, err
			}
			at.url.Path, at.url.RawQuery = u.Path, u.RawQuery
		}
		at.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := w.Dial(ctx, s.Namespace, s.Name, port)
			if err != nil {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
			return c, nil
		}
	}
	if to.Timeout > 0 {
		query := at.url.Query()
		query.Set("timeout", to.Timeout.String())
		at.url.RawQuery = query.Encode()
	}
	return at, nil
}

// client is what calls a place that bundle vouches for.
func (w *Webhooks) client(at place, bundle []byte) (*http.Client, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%t %s %s", at.dial != nil, at.url.Host, bundle))
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clients[key]; c != nil {
		return c, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: at.name}
	if len(bytes.TrimSpace(bundle)) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, errors.New("the caBundle holds no certificate")
		}
	}
	if w.clients == nil || len(w.clients) >= maxClients {
		for _, c := range w.clients {
			c.CloseIdleConnections()
		}
		w.clients = map[[sha256.Size]byte]*http.Client{}
	}
	transport := &http.Transport{
		TLSClientConfig: config, DialContext: at.dial, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	if at.dial == nil {
		transport.Proxy = http.ProxyFromEnvironment
		transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	c := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w.clients[key] = c
	return c, nil
}
