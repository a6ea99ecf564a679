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

// customView lets kind show what raw keeps and store it in the version of stored. What is shown is first completed as
// the version it is stored in says: of the shown one, fields that are not stored have no defaults.
func customView(kind, raw, stored *Kind, versions map[string]*Kind, convert func(context.Context, string, []*unstructured.Unstructured) ([]*unstructured.Unstructured, error)) *View {
	to := func(ctx context.Context, version *Kind, objs []Object) ([]Object, error) {
		out, err := convertMixed(ctx, version.GroupVersion().String(), objs, convert)
		if err != nil {
			return nil, err
		}
		for _, obj := range out {
			if _, err := version.Custom.Coerce(obj.(*unstructured.Unstructured)); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return &View{
		Of: raw,
		Show: func(ctx context.Context, objs []Object) ([]Object, error) {
			complete := make([]Object, len(objs))
			for i, obj := range objs {
				complete[i] = obj.DeepCopyObject().(Object)
				if version := versions[obj.(*unstructured.Unstructured).GetAPIVersion()]; version != nil {
					version.Decoded(complete[i])
				}
			}
			return to(ctx, kind, complete)
		},
		Store: func(ctx context.Context, objs []Object) ([]Object, error) { return to(ctx, stored, objs) },
	}
}

// convertMixed converts those objects that are not of the version yet, all with one call.
func convertMixed(ctx context.Context, apiVersion string, objs []Object, convert func(context.Context, string, []*unstructured.Unstructured) ([]*unstructured.Unstructured, error)) ([]Object, error) {
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
	return out, nil
}
