package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Mutating is the rule of MutatingWebhookConfigurations.
type Mutating struct{ hooks *Hooks }

// Begin implements admission.Remembering.
func (m *Mutating) Begin() admission.Mutating { return &asking{hooks: m.hooks} }

// asking is the rule within one request.
type asking struct {
	hooks *Hooks
	asked bool
	left  []after // hooks that may be asked again, in order
}

// after is the object as it was after a hook.
type after struct {
	hook   *hook
	object []byte
}

// Admit implements admission.Mutating: hooks one after the other, by the name of their configuration and their place in
// it; the second time those that ask for it, if others have changed the object since.
func (r *asking) Admit(ctx context.Context, a *state.Attributes) error {
	if r.asked {
		return r.again(ctx, a)
	}
	r.asked = true
	for _, w := range r.hooks.mutating(a.Reader) {
		called, err := r.once(ctx, a, w)
		if err != nil {
			return err
		}
		if called && w.again && a.Object != nil {
			r.left = append(r.left, after{w, mustJSON(a.Object)})
		}
	}
	return nil
}

func (r *asking) again(ctx context.Context, a *state.Attributes) error {
	for _, one := range r.left {
		if bytes.Equal(one.object, mustJSON(a.Object)) {
			continue
		}
		if _, err := r.once(ctx, a, one.hook); err != nil {
			return err
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
func (r *asking) once(ctx context.Context, a *state.Attributes, w *hook) (asked bool, err error) {
	kind, err := r.hooks.wanted(ctx, a, w)
	if err != nil || kind == nil {
		return false, err
	}
	got, err := r.hooks.ask(ctx, a, w, kind)
	if err != nil || got == nil || len(got.Patch) == 0 {
		return err == nil && got != nil, err
	}
	if err := patch(ctx, a, kind, got); err != nil {
		r.hooks.log.Warn("a webhook's patch failed", "webhook", w.name, "error", err)
		return true, apierrors.NewInternalError(fmt.Errorf("admission webhook %q: %w", w.name, err))
	}
	return true, nil
}

// patch applies a JSON patch to the object as the hook saw it, and takes the result over with its defaults.
func patch(ctx context.Context, a *state.Attributes, kind *resource.Kind, got *answer) error {
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
	fresh, err := match.Decode(shown, after, false)
	if err != nil {
		return fmt.Errorf("reading the patched object: %w", err)
	}
	return match.Take(ctx, a, kind, fresh)
}
