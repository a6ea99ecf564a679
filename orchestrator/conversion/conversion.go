// Package conversion asks webhooks to convert custom objects between the versions of their definition
// (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion).
//
//	POST  ConversionReview{request{uid, desiredAPIVersion, objects}}
//	 200  ConversionReview{response{uid, result{status: Success}, convertedObjects}}, one for one and in order
package conversion

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

const (
	timeout = 30 * time.Second // as Kubernetes' clients of webhooks
	// attempts are made when a webhook cannot be dialed, pause apart: it may be starting.
	attempts = 3
	pause    = 200 * time.Millisecond
	// maxAnswer bounds what a webhook may send, in bytes.
	maxAnswer = 64 << 20
	// maxClients bounds how many webhooks are remembered with their connections.
	maxClients = 64
)

// DialService connects to a port of a Service.
type DialService func(ctx context.Context, namespace, name string, port int32) (net.Conn, error)

// Webhooks calls conversion webhooks. Dial is needed for those behind Services.
type Webhooks struct {
	Dial DialService

	mu      sync.Mutex
	clients map[[sha256.Size]byte]*http.Client
}

// request and response are ConversionReview of apiextensions.k8s.io, v1 and v1beta1, as they look in JSON.
type review struct {
	metav1.TypeMeta `json:",inline"`
	Request         *request  `json:"request,omitempty"`
	Response        *response `json:"response,omitempty"`
}

type request struct {
	UID               types.UID                    `json:"uid"`
	DesiredAPIVersion string                       `json:"desiredAPIVersion"`
	Objects           []*unstructured.Unstructured `json:"objects"`
}

type response struct {
	UID              types.UID                    `json:"uid"`
	ConvertedObjects []*unstructured.Unstructured `json:"convertedObjects"`
	Result           metav1.Status                `json:"result"`
}

// Convert implements resource.Conversion.
func (w *Webhooks) Convert(ctx context.Context, hook *apiextensionsv1.WebhookConversion, apiVersion string, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	of := objs[0].GroupVersionKind()
	converted, err := w.call(ctx, hook, apiVersion, objs)
	if err != nil {
		return nil, fmt.Errorf("conversion webhook for %v failed: %w", of, err)
	}
	if len(converted) != len(objs) {
		return nil, fmt.Errorf("conversion webhook for %v returned %d objects, expected %d", of, len(converted), len(objs))
	}
	for i, u := range converted {
		if err := settle(objs[i], u, apiVersion); err != nil {
			return nil, fmt.Errorf("conversion webhook for %v returned invalid converted object at index %v: %w", of, i, err)
		}
	}
	return converted, nil
}

func (w *Webhooks) call(ctx context.Context, hook *apiextensionsv1.WebhookConversion, apiVersion string, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	i := slices.IndexFunc(hook.ConversionReviewVersions, func(v string) bool { return v == "v1" || v == "v1beta1" })
	if i < 0 {
		return nil, errors.New("no supported conversion review versions")
	}
	kind := metav1.TypeMeta{Kind: "ConversionReview", APIVersion: apiextensionsv1.GroupName + "/" + hook.ConversionReviewVersions[i]}
	uid := uuid.NewUUID()
	body, err := json.Marshal(review{TypeMeta: kind, Request: &request{UID: uid, DesiredAPIVersion: apiVersion, Objects: objs}})
	if err != nil {
		return nil, err
	}
	if hook.ClientConfig == nil {
		return nil, errors.New("it has no clientConfig")
	}
	answer, err := w.post(ctx, *hook.ClientConfig, body)
	if err != nil {
		return nil, err
	}
	return read(answer, kind, uid)
}

// read judges what a webhook answered.
func read(answer []byte, kind metav1.TypeMeta, uid types.UID) ([]*unstructured.Unstructured, error) {
	var r review
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("reading its answer: %w", err)
	}
	strict := kind.APIVersion == apiextensionsv1.SchemeGroupVersion.String() // v1beta1 never said so
	switch {
	case strict && r.TypeMeta != kind:
		return nil, fmt.Errorf("expected webhook response of %v, got %v", kind.GroupVersionKind(), r.GroupVersionKind())
	case r.Response == nil:
		return nil, errors.New("no response provided")
	case strict && r.Response.UID != uid:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, r.Response.UID)
	case r.Response.Result.Status == metav1.StatusSuccess:
		return r.Response.ConvertedObjects, nil
	case r.Response.Result.Message != "":
		return nil, errors.New(r.Response.Result.Message)
	}
	return nil, fmt.Errorf("response.result.status was '%s', not 'Success'", r.Response.Result.Status)
}

// post sends body and returns the answer.
func (w *Webhooks) post(ctx context.Context, at apiextensionsv1.WebhookClientConfig, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	target, client, err := w.client(at)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		answer, err := post(ctx, client, target, body)
		var failed *net.OpError
		if err == nil || attempt == attempts || !errors.As(err, &failed) || failed.Op != "dial" {
			return answer, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func post(ctx context.Context, client *http.Client, target string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading its answer: %w", err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("its answer is larger than %d bytes", maxAnswer)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server answered with status %s", response.Status)
	}
	return answer, nil
}

// client is where a webhook is and what calls it. Clients are kept with their connections.
func (w *Webhooks) client(at apiextensionsv1.WebhookClientConfig) (string, *http.Client, error) {
	target, dial, name, err := w.place(at)
	if err != nil {
		return "", nil, err
	}
	key := sha256.Sum256(append([]byte(target+"\x00"+name+"\x00"), at.CABundle...))
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clients[key]; c != nil {
		return target, c, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if len(bytes.TrimSpace(at.CABundle)) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(at.CABundle) {
			return "", nil, errors.New("its caBundle holds no certificate")
		}
	}
	if w.clients == nil || len(w.clients) >= maxClients {
		for _, c := range w.clients {
			c.CloseIdleConnections()
		}
		w.clients = map[[sha256.Size]byte]*http.Client{}
	}
	c := &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: config, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are not followed") },
	}
	w.clients[key] = c
	return target, c, nil
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// place is the URL of a webhook, how it is dialed and the name in its certificate ("": that of the URL).
func (w *Webhooks) place(at apiextensionsv1.WebhookClientConfig) (target string, dial dialFunc, name string, err error) {
	if at.URL != nil {
		return *at.URL, (&net.Dialer{Timeout: 10 * time.Second}).DialContext, "", nil
	}
	s := at.Service
	if s == nil || w.Dial == nil {
		return "", nil, "", errors.New("it has neither a URL nor a Service that can be reached")
	}
	port := int32(443)
	if s.Port != nil {
		port = *s.Port
	}
	name = s.Name + "." + s.Namespace + ".svc"
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(name, strconv.Itoa(int(port)))}
	if s.Path != nil {
		u.Path = *s.Path
	}
	return u.String(), func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := w.Dial(ctx, s.Namespace, s.Name, port)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
		return c, nil
	}, name, nil
}
