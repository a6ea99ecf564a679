package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/reach"
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
	at := reach.Webhook{URL: w.client.URL, CABundle: w.client.CABundle, Timeout: w.timeout}
	if s := w.client.Service; s != nil {
		at.Service = &reach.Service{Namespace: s.Namespace, Name: s.Name, Path: s.Path, Port: s.Port}
	}
	return h.config.Post.Post(ctx, at, body, maxAnswer)
}
