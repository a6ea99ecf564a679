package webhook

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
	"strconv"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// answer is what a hook said.
type answer = admissionv1.AdmissionResponse

// maxAnswer bounds what a hook may answer, in bytes: a patch may hold a whole object.
const maxAnswer = 7 << 20

// call sends the AdmissionReview of a request and reads the answer. Both versions of it are the same but for their name.
func (h *Hooks) call(ctx context.Context, a *state.Attributes, w *hook, kind *resource.Kind) (*answer, error) {
	version := ""
	for _, v := range w.versions {
		if v == "v1" || v == "v1beta1" {
			version = v
			break
		}
	}
	if version == "" {
		return nil, fmt.Errorf("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
	}
	gvk := schema.GroupVersion{Group: admissionv1.GroupName, Version: version}.WithKind("AdmissionReview")
	review := &admissionv1.AdmissionReview{}
	review.SetGroupVersionKind(gvk)
	var err error
	if review.Request, err = request(ctx, a, kind); err != nil {
		return nil, err
	}
	body, err := json.Marshal(review)
	if err != nil {
		return nil, err
	}
	back, err := h.post(ctx, w, body)
	if err != nil {
		return nil, fmt.Errorf("failed to call webhook: %w", err)
	}
	return read(back, gvk, review.Request.UID)
}

// read checks an answer.
func read(data []byte, gvk schema.GroupVersionKind, uid types.UID) (*answer, error) {
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, fmt.Errorf("expected webhook response of %s: %w", gvk, err)
	}
	r := got.Response
	switch {
	case r == nil:
		return nil, errors.New("webhook response was absent")
	case gvk.Version == admissionv1beta1.SchemeGroupVersion.Version:
		if len(r.Patch) > 0 && r.PatchType == nil {
			patch := admissionv1.PatchTypeJSONPatch
			r.PatchType = &patch
		}
		return r, nil // older hooks do not say what they answer to
	case got.GroupVersionKind() != gvk:
		return nil, fmt.Errorf("expected webhook response of %v, got %v", gvk.String(), got.GroupVersionKind().String())
	case r.UID != uid:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case len(r.Patch) == 0 && r.PatchType != nil:
		return nil, errors.New("webhook returned response.patchType but not response.patch")
	case len(r.Patch) > 0 && r.PatchType == nil:
		return nil, errors.New("webhook returned response.patch but not response.patchType")
	}
	return r, nil
}

// request is the request as the hook sees it.
func request(ctx context.Context, a *state.Attributes, kind *resource.Kind) (*admissionv1.AdmissionRequest, error) {
	obj, old, err := match.Show(ctx, a, kind)
	if err != nil {
		return nil, err
	}
	dry := a.DryRun
	own, shown := metav1.GroupVersionKind(match.SentKind(a, a.Kind)), metav1.GroupVersionKind(match.SentKind(a, kind))
	ownResource, shownResource := metav1.GroupVersionResource(a.Kind.GroupVersionResource()), metav1.GroupVersionResource(kind.GroupVersionResource())
	r := &admissionv1.AdmissionRequest{
		UID: uuid.NewUUID(), Kind: shown, Resource: shownResource, SubResource: a.Subresource,
		RequestKind: &own, RequestResource: &ownResource, RequestSubResource: a.Subresource,
		Name: a.Name, Namespace: a.Namespace, Operation: admissionv1.Operation(a.Operation),
		UserInfo: authenticationv1.UserInfo{Username: "system:apiserver", Groups: []string{"system:masters"}}, DryRun: &dry,
	}
	if a.User != nil {
		r.UserInfo = *a.User
	}
	if a.Kind.Group == "" && a.Kind.Plural == "namespaces" {
		r.Namespace = a.Name
	}
	for _, part := range []struct {
		of   runtime.Object
		into *runtime.RawExtension
	}{{obj, &r.Object}, {old, &r.OldObject}, {a.Options, &r.Options}} {
		if part.of == nil {
			continue
		}
		if part.into.Raw, err = json.Marshal(part.of); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// post sends a body to a hook.
func (h *Hooks) post(ctx context.Context, w *hook, body []byte) ([]byte, error) {
	target, client, err := h.clients.get(&w.client)
	if err != nil {
		return nil, err
	}
	query := target.Query()
	query.Set("timeout", w.timeout.String())
	target.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
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
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, fmt.Errorf("the server answered %s", response.Status)
	}
	return data, nil
}

// clients keep connections by where they lead and whom they trust.
type clients struct {
	dial func(ctx context.Context, namespace, name string, port int32) (net.Conn, error)

	mu  sync.Mutex
	all map[string]*http.Client
}

// maxClients bounds how many hooks' connections are kept; beyond it all begin anew.
const maxClients = 64

// get finds the address of a hook and what connects to it.
func (c *clients) get(w *admissionregistrationv1.WebhookClientConfig) (*url.URL, *http.Client, error) {
	trust := sha256.Sum256(w.CABundle)
	if w.URL != nil {
		target, err := url.Parse(*w.URL)
		if err != nil {
			return nil, nil, err
		}
		client, err := c.client("url "+target.Host+string(trust[:]), w.CABundle, target.Hostname(), nil)
		return target, client, err
	}
	s := w.Service
	if s == nil {
		return nil, nil, errors.New("webhook configuration must have either service or URL")
	}
	port := int32(443)
	if s.Port != nil {
		port = *s.Port
	}
	host := s.Name + "." + s.Namespace + ".svc"
	target := &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))}
	if s.Path != nil {
		at, err := url.Parse(*s.Path)
		if err != nil {
			return nil, nil, err
		}
		target.Path, target.RawQuery = at.Path, at.RawQuery
	}
	client, err := c.client("service "+target.Host+string(trust[:]), w.CABundle, host, func(ctx context.Context, _, _ string) (net.Conn, error) {
		if c.dial == nil {
			return nil, errors.New("this server cannot reach Services")
		}
		return c.dial(ctx, s.Namespace, s.Name, port)
	})
	return target, client, err
}

func (c *clients) client(key string, bundle []byte, host string, dial func(context.Context, string, string) (net.Conn, error)) (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client := c.all[key]; client != nil {
		return client, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if len(bundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, errors.New("the caBundle holds no certificate")
		}
	}
	if len(c.all) >= maxClients {
		for _, old := range c.all {
			old.CloseIdleConnections()
		}
		c.all = nil
	}
	if c.all == nil {
		c.all = map[string]*http.Client{}
	}
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: config, DialContext: dial, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, Proxy: proxy(dial), MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.all[key] = client
	return client, nil
}

// proxy is asked for hooks outside of the cluster only.
func proxy(dial func(context.Context, string, string) (net.Conn, error)) func(*http.Request) (*url.URL, error) {
	if dial != nil {
		return nil
	}
	return http.ProxyFromEnvironment
}
