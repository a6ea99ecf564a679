package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	kjson "sigs.k8s.io/json"

	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Mutating is the rule of MutatingWebhookConfigurations.
type Mutating struct{ hooks *Hooks }

// Once implements admission.Once.
func (m *Mutating) Once() {}

// Admit implements admission.Mutating: hooks one after the other, by the name of their configuration and their place in
// it; then once more those that ask for it if others have changed the object since.
func (m *Mutating) Admit(ctx context.Context, a *state.Attributes) error {
	all := m.hooks.mutating(a.Reader)
	if len(all) == 0 {
		return nil
	}
	left := map[*hook][]byte{} // the object as it was after a hook that may be asked again
	for round := range 2 {
		for _, w := range all {
			before, called := left[w]
			if round == 1 && (!called || bytes.Equal(before, mustJSON(a.Object))) {
				continue
			}
			asked, err := m.once(ctx, a, w)
			if err != nil {
				return err
			}
			if asked && w.again && a.Object != nil {
				left[w] = mustJSON(a.Object)
			}
		}
		if len(left) == 0 {
			break
		}
	}
	return nil
}

// mustJSON tells two states of an object apart.
func mustJSON(obj state.Object) []byte {
	b, err := json.Marshal(obj)
	if err != nil {
		panic(fmt.Sprintf("webhook: an object that was decoded cannot be encoded: %v", err))
	}
	return b
}

// once asks one hook and does what it wants to the object.
func (m *Mutating) once(ctx context.Context, a *state.Attributes, w *hook) (asked bool, err error) {
	kind, err := m.hooks.wanted(ctx, a, w)
	if err != nil || kind == nil {
		return false, err
	}
	got, err := m.hooks.ask(ctx, a, w, kind)
	if err != nil || got == nil || len(got.Patch) == 0 {
		return err == nil && got != nil, err
	}
	if err := m.patch(ctx, a, kind, got); err != nil {
		m.hooks.log.Warn("a webhook's patch failed", "webhook", w.name, "error", err)
		return true, apierrors.NewInternalError(fmt.Errorf("admission webhook %q: %w", w.name, err))
	}
	return true, nil
}

// patch applies a JSON patch to the object as the hook saw it, and takes the result over with its defaults.
func (m *Mutating) patch(ctx context.Context, a *state.Attributes, kind *resource.Kind, got *answer) error {
	if got.PatchType == nil || *got.PatchType != admissionv1.PatchTypeJSONPatch {
		return fmt.Errorf("unexpected patch type")
	}
	if a.Object == nil {
		return errImmutable
	}
	shown, _, err := match.Show(ctx, a, kind)
	if err != nil {
		return err
	}
	before, err := json.Marshal(shown)
	if err != nil {
		return err
	}
	steps, err := jsonpatch.DecodePatch(got.Patch)
	if err != nil {
		return fmt.Errorf("reading the patch: %w", err)
	}
	after, err := steps.Apply(before)
	if err != nil {
		return fmt.Errorf("applying the patch: %w", err)
	}
	fresh := reflect.New(reflect.TypeOf(shown).Elem()).Interface().(state.Object)
	if err := decode(after, fresh); err != nil {
		return fmt.Errorf("reading the patched object: %w", err)
	}
	return take(ctx, a, kind, fresh)
}

func decode(b []byte, into state.Object) error {
	if u, ok := into.(*unstructured.Unstructured); ok {
		return u.UnmarshalJSON(b)
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(b, into)
}

// take makes a.Object what fresh, shown as one of kind, says.
func take(ctx context.Context, a *state.Attributes, kind *resource.Kind, fresh state.Object) error {
	if scale, ok := fresh.(*autoscalingv1.Scale); ok {
		if door := match.Scale(a); door != nil {
			door.Set(a.Object, scale.Spec.Replicas)
			return nil
		}
	}
	if reflect.TypeOf(fresh) == reflect.TypeOf(kind.New()) {
		a.Reader.Kinds().Default(kind, fresh)
		own, err := resource.Convert(ctx, fresh, kind, a.Kind)
		if err != nil {
			return err
		}
		fresh = own
	}
	if reflect.TypeOf(fresh) != reflect.TypeOf(a.Object) {
		return fmt.Errorf("a %T cannot replace a %T", fresh, a.Object)
	}
	fresh.GetObjectKind().SetGroupVersionKind(a.Object.GetObjectKind().GroupVersionKind())
	reflect.ValueOf(a.Object).Elem().Set(reflect.ValueOf(fresh).Elem())
	a.Replaced = true
	return nil
}
