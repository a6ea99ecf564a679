package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// maxPatchOperations bounds a JSON patch.
const maxPatchOperations = 10000

// The library bounds what operations of a JSON patch copy by a variable: a few of them, each doubling the object, would
// fill the memory.
func init() { jsonpatch.AccumulatedCopySizeLimit = maxBody }

var patchTypes = []string{
	string(types.JSONPatchType), string(types.MergePatchType),
	string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
}

// customPatchTypes are those of kinds whose Go type, which would say how lists are merged, is not known.
var customPatchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}

func (c *call) patchTypes() []string {
	if c.kind.Custom != nil {
		return customPatchTypes
	}
	return patchTypes
}

// patch is a change as the client sent it.
type patch struct {
	kind       types.PatchType
	data       []byte
	validation string // Ignore, Warn or Strict
	warnings   []string
}

func (c *call) patch() error {
	p, o, err := c.readPatch()
	if err != nil {
		return err
	}
	if p.kind == types.ApplyYAMLPatchType {
		return c.apply(p, o)
	}
	options := patching(o)
	options.Manager = c.manager(o.FieldManager)
	done, err := c.edit(options, func(live resource.Object) (resource.Object, error) {
		if live == nil { // a kind that PUT creates
			return nil, apierrors.NewNotFound(c.kind.GroupResource(), c.at.name)
		}
		return c.patched(p, live)
	})
	if err != nil {
		return err
	}
	c.warn(p.warnings...)
	return c.changed(done)
}

// patching are a patch's options as those of the update that it is.
func patching(o metav1.PatchOptions) state.UpdateOptions {
	return state.UpdateOptions{DryRun: len(o.DryRun) > 0, Options: &metav1.UpdateOptions{
		TypeMeta: metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: "UpdateOptions"},
		DryRun:   o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation,
	}}
}

func (c *call) readPatch() (*patch, metav1.PatchOptions, error) {
	kind, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	if accepted := c.patchTypes(); !slices.Contains(accepted, kind) {
		return nil, metav1.PatchOptions{}, media.Unsupported(accepted...)
	}
	p := &patch{kind: types.PatchType(kind)}
	o, err := c.patchOptions(p.kind)
	if err != nil {
		return nil, o, err
	}
	p.validation = fieldValidation(o.FieldValidation)
	p.data, err = c.read()
	return p, o, err
}

// patched is live with the patch applied and defaulted, in the same place and of the same name.
func (c *call) patched(p *patch, live resource.Object) (resource.Object, error) {
	p.warnings = nil
	obj, err := p.on(c.s, c.kind, live)
	if err != nil {
		return nil, err
	}
	if err := c.sameUID(obj, live); err != nil {
		return nil, err
	}
	if err := c.place(obj); err != nil {
		return nil, err
	}
	if err := c.named(obj); err != nil {
		return nil, err
	}
	c.s.kinds.Default(c.kind, obj)
	return obj, nil
}

// sameUID refuses a patch that makes another object of live.
func (c *call) sameUID(obj, live resource.Object) error {
	if uid := obj.GetUID(); uid != "" && live.GetUID() != "" && uid != live.GetUID() {
		return apierrors.NewInvalid(c.kind.GroupVersionKind.GroupKind(), c.at.name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "uid"), string(uid), "field is immutable")})
	}
	return nil
}

func (p *patch) on(s *Server, kind *resource.Kind, live resource.Object) (resource.Object, error) {
	if p.kind == types.StrategicMergePatchType {
		into := kind.New()
		return into, p.strategic(typed(live, kind.GroupVersionKind), into)
	}
	before, err := s.codec.raw(typed(live, kind.GroupVersionKind), media.JSON)
	if err != nil {
		return nil, err
	}
	after, loose, err := p.json(before)
	if err != nil {
		return nil, err
	}
	into, found, err := s.codec.patchedKind(after, kind, p.validation)
	if err != nil {
		return nil, p.unfit(string(after), append(loose, strictErrors(err)...), err)
	}
	return into, p.loosely(string(after), append(loose, found...))
}

// json applies a JSON patch or merge patch to text, and returns what a strict reader minds.
func (p *patch) json(before []byte) ([]byte, []string, error) {
	if p.kind == types.JSONPatchType {
		return p.operations(before)
	}
	var loose []string
	if p.validation != metav1.FieldValidationIgnore {
		strict, err := kjson.UnmarshalStrict(p.data, &map[string]any{})
		if err != nil {
			return nil, nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		loose = messages(strict)
	}
	after, err := jsonpatch.MergePatch(before, p.data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return after, loose, nil
}

func (p *patch) operations(before []byte) ([]byte, []string, error) {
	var loose []string
	if p.validation != metav1.FieldValidationIgnore {
		var shape []struct {
			Op    string `json:"op"`
			Path  string `json:"path"`
			From  string `json:"from"`
			Value any    `json:"value"`
		}
		strict, err := kjson.UnmarshalStrict(p.data, &shape)
		if err != nil {
			return nil, nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		for _, err := range strict {
			loose = append(loose, fmt.Sprintf("json patch %v", err))
		}
	}
	operations, err := jsonpatch.DecodePatch(p.data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxPatchOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
	}
	after, err := operations.Apply(before)
	if err != nil {
		return nil, nil, unprocessable(err)
	}
	return after, loose, nil
}

// strategic applies a strategic merge patch to live, into into.
func (p *patch) strategic(live, into resource.Object) error {
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return fmt.Errorf("converting the stored object: %w", err)
	}
	changes := map[string]any{}
	strict, err := kjson.UnmarshalStrict(p.data, &changes)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	var loose []string
	if p.validation != metav1.FieldValidationIgnore {
		loose = messages(strict)
	}
	shown := fmt.Sprintf("%+v", changes)
	after, err := strategicpatch.StrategicMergeMapPatch(before, changes, into)
	if err != nil {
		return mergeError(err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after, into, p.validation != metav1.FieldValidationIgnore)
	found, isStrict := runtime.AsStrictDecodingError(err)
	if err != nil && !isStrict {
		return p.unfit(shown, nil, err)
	}
	if isStrict {
		loose = append(loose, messages(found.Errors())...)
	}
	return p.loosely(shown, loose)
}

func mergeError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return apierrors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return unprocessable(err)
	}
	return err
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

// loosely lets unknown and duplicate fields pass with a warning, or refuses them.
func (p *patch) loosely(shown string, loose []string) error {
	if len(loose) == 0 || p.validation == metav1.FieldValidationIgnore {
		return nil
	}
	if p.validation == metav1.FieldValidationWarn {
		p.warnings = append(p.warnings, loose...)
		return nil
	}
	return p.unfit(shown, loose, nil)
}

// unfit is the 422 Status for a patch whose result is not an object of the kind.
func (p *patch) unfit(shown string, loose []string, err error) error {
	message := "strict decoding error: " + strings.Join(loose, ", ")
	if len(loose) == 0 {
		message = err.Error()
	}
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, message)})
}

// strictErrors are the single problems of a strict decoding error; nil for other errors.
func strictErrors(err error) []string {
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return messages(strict.Errors())
	}
	return nil
}
