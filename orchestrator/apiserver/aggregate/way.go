package aggregate

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

const (
	// attempts are made when a server cannot be dialed, pause apart: it may be restarting.
	attempts    = 3
	pause       = 200 * time.Millisecond
	dialTimeout = 5 * time.Second // of each attempt
)

// destination tells ways apart.
type destination struct {
	uid             types.UID
	namespace, name string
	port            int32
	insecure        bool
	ca              [sha256.Size]byte
}

func destinationOf(s *apiregistrationv1.APIService) destination {
	to := destination{uid: s.UID, namespace: s.Spec.Service.Namespace, name: s.Spec.Service.Name, port: 443, insecure: s.Spec.InsecureSkipTLSVerify}
	if s.Spec.Service.Port != nil {
		to.port = *s.Spec.Service.Port
	}
	to.ca = sha256.Sum256(s.Spec.CABundle)
	return to
}

// host is the name that the server's certificate must have.
func (d destination) host() string { return d.name + "." + d.namespace + ".svc" }

// url is where a path of the server is.
func (d destination) url(path, query string) *url.URL {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(d.host(), strconv.Itoa(int(d.port))), Path: path, RawQuery: query}
}

// way is how a server is reached, with the connections to it.
type way struct {
	to destination
	// plain is for requests, upgrade for those that become streams, which HTTP/2 does not do.
	plain, upgrade *http.Transport
	broken         error // why no request can be sent
}

func (a *Aggregator) newWay(s *apiregistrationv1.APIService, to destination) *way {
	w := &way{to: to}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: to.host(), InsecureSkipVerify: to.insecure,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.Certificate() },
	}
	if len(s.Spec.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(s.Spec.CABundle) {
			w.broken = errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	w.plain = &http.Transport{
		DialContext: a.dial(to), TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	w.upgrade = &http.Transport{
		DialContext: a.dial(to), TLSClientConfig: config.Clone(), DisableKeepAlives: true, DisableCompression: true,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10, ResponseHeaderTimeout: time.Minute, Protocols: new(http.Protocols),
	}
	w.upgrade.Protocols.SetHTTP1(true)
	return w
}

func (w *way) close() {
	w.plain.CloseIdleConnections()
	w.upgrade.CloseIdleConnections()
}

func (a *Aggregator) dial(to destination) func(ctx context.Context, _, _ string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		for attempt := 1; ; attempt++ {
			c, err := a.once(ctx, to)
			if err == nil || attempt == attempts {
				return c, err
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil, err
			}
		}
	}
}

func (a *Aggregator) once(ctx context.Context, to destination) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := a.Dial(ctx, to.namespace, to.name, to.port)
	if err != nil {
		return nil, fmt.Errorf("dialing service %s/%s: %w", to.namespace, to.name, err)
	}
	return c, nil
}
