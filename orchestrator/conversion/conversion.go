// Package conversion asks webhooks to convert custom objects between the versions of their definition
// (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion).
//
//	POST  ConversionReview{request{uid, desiredAPIVersion, objects}}
//	 200  ConversionReview{response{uid, result{status: Success}, convertedObjects}}, one for one and in order
package conversion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"wherry/orchestrator/reach"
)

const (
	timeout = 30 * time.Second // as Kubernetes' clients of webhooks
	// attempts are made when a webhook cannot be dialed, pause apart: it may be starting.
	attempts = 3
	pause    = 200 * time.Millisecond
	// maxAnswer bounds what a webhook may send, in bytes.
	maxAnswer = 64 << 20
)

// Webhooks calls conversion webhooks by way of Post.
type Webhooks struct{ Post *reach.Webhooks }

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
func (w *Webhooks) post(ctx context.Context, to apiextensionsv1.WebhookClientConfig, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := reach.Webhook{URL: to.URL, CABundle: to.CABundle}
	if s := to.Service; s != nil {
		at.Service = &reach.Service{Namespace: s.Namespace, Name: s.Name, Path: s.Path, Port: s.Port}
	}
	for attempt := 1; ; attempt++ {
		answer, err := w.Post.Post(ctx, at, body, maxAnswer)
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
