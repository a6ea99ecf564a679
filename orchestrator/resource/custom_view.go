package resource

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Conversion asks the webhook of a definition to make custom objects objects of another version, one for one and in
// order. The objects are not changed. Errors reach the client.
type Conversion func(ctx context.Context, webhook *apiextensionsv1.WebhookConversion, apiVersion string, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error)

// converterOf makes objects of one definition objects of another version.
func converterOf(crd *apiextensionsv1.CustomResourceDefinition, convert Conversion) func(context.Context, string, []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	conversion := crd.Spec.Conversion
	if conversion == nil || conversion.Strategy != apiextensionsv1.WebhookConverter {
		return rename
	}
	webhook, name := conversion.Webhook.DeepCopy(), crd.Name
	return func(ctx context.Context, apiVersion string, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
		if convert == nil {
			return nil, fmt.Errorf("conversion webhook for %s: this server calls no webhooks", name)
		}
		return convert(ctx, webhook, apiVersion, objs)
	}
}

// rename is the conversion None: nothing but apiVersion changes.
func rename(_ context.Context, apiVersion string, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, len(objs))
	for i, u := range objs {
		out[i] = u.DeepCopy()
		out[i].SetAPIVersion(apiVersion)
	}
	return out, nil
}

// customView lets kind show what raw keeps and store it in the version of stored.
func customView(kind, raw, stored *Kind, convert func(context.Context, string, []*unstructured.Unstructured) ([]*unstructured.Unstructured, error)) *View {
	to := func(version *Kind, finish func(*unstructured.Unstructured) error) func(context.Context, []Object) ([]Object, error) {
		return func(ctx context.Context, objs []Object) ([]Object, error) {
			return convertMixed(ctx, version.GroupVersion().String(), objs, convert, finish)
		}
	}
	return &View{
		Of: raw,
		Show: to(kind, func(u *unstructured.Unstructured) error {
			kind.Decoded(u)
			return nil
		}),
		Store: to(stored, func(u *unstructured.Unstructured) error {
			_, err := stored.Custom.Coerce(u)
			return err
		}),
	}
}

// convertMixed converts those objects that are not of the version yet, all with one call, and finishes all.
func convertMixed(ctx context.Context, apiVersion string, objs []Object, convert func(context.Context, string, []*unstructured.Unstructured) ([]*unstructured.Unstructured, error), finish func(*unstructured.Unstructured) error) ([]Object, error) {
	out := make([]Object, len(objs))
	var others []*unstructured.Unstructured
	var at []int
	for i, obj := range objs {
		u := obj.(*unstructured.Unstructured)
		if u.GetAPIVersion() == apiVersion {
			out[i] = u.DeepCopy()
			continue
		}
		others, at = append(others, u), append(at, i)
	}
	if len(others) > 0 {
		converted, err := convert(ctx, apiVersion, others)
		if err != nil {
			return nil, err
		}
		for i, u := range converted {
			out[at[i]] = u
		}
	}
	for _, obj := range out {
		if err := finish(obj.(*unstructured.Unstructured)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
