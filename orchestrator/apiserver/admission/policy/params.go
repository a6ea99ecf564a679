package policy

import (
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// params are the objects that a binding gives its policy; one nil where the policy wants none.
func params(ctx context.Context, a *state.Attributes, want *admissionregistrationv1.ParamKind, ref *admissionregistrationv1.ParamRef) ([]runtime.Object, error) {
	if want == nil || ref == nil {
		return []runtime.Object{nil}, nil
	}
	gv, err := schema.ParseGroupVersion(want.APIVersion)
	if err != nil {
		return nil, err
	}
	kind, ok := a.Reader.Kinds().Kind(gv.WithKind(want.Kind))
	if !ok {
		return nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gv.WithKind(want.Kind))
	}
	namespace, err := paramNamespace(kind, ref, a.Namespace)
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, a.Reader, kind, ref, namespace)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && (ref.ParameterNotFoundAction == nil || *ref.ParameterNotFoundAction == admissionregistrationv1.DenyAction) {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return found, nil
}

// paramNamespace is where parameters are: where the binding says, else where the object is.
func paramNamespace(kind *resource.Kind, ref *admissionregistrationv1.ParamRef, of string) (string, error) {
	switch {
	case !kind.Namespaced && ref.Namespace != "":
		return "", errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case !kind.Namespaced:
		return "", nil
	case ref.Namespace != "":
		return ref.Namespace, nil
	case of == "":
		return "", errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	}
	return of, nil
}

func find(ctx context.Context, s *state.State, kind *resource.Kind, ref *admissionregistrationv1.ParamRef, namespace string) ([]runtime.Object, error) {
	var entries []*state.Entry
	if ref.Name != "" {
		e, err := s.Get(ctx, kind, namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	} else {
		selector, err := metav1.LabelSelectorAsSelector(ref.Selector)
		if err != nil {
			return nil, err
		}
		page, err := s.List(ctx, kind, state.ListOptions{Selector: state.Selector{Namespace: namespace, Labels: selector}})
		if err != nil {
			return nil, err
		}
		entries = page.Entries
	}
	var all []runtime.Object
	for _, e := range entries {
		obj := e.Object().DeepCopyObject()
		obj.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
		all = append(all, obj)
	}
	return all, nil
}
