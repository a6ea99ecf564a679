package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/types/ref"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"wherry/orchestrator/apiserver/admission/expression"
	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Types finds what an object, shown as one of a kind, is merged by.
type Types func(k *resource.Kind, obj runtime.Object) (managedfields.TypeConverter, error)

// mutations are the compiled expressions of a MutatingAdmissionPolicy.
type mutations struct {
	set        *expression.Set
	conditions expression.Evaluator // nil: none
	all        []change
}

// change is one of them.
type change struct {
	kind admissionregistrationv1.PatchType
	expression.Mutation
}

func compileMutations(spec *admissionregistrationv1.MutatingAdmissionPolicySpec) (*mutations, error) {
	declared := expression.Declared{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	set, err := expression.NewSet(variables(spec.Variables), declared)
	if err != nil {
		return nil, err
	}
	c := &mutations{set: set, conditions: conditions(set, spec.MatchConditions, declared)}
	for _, m := range spec.Mutations {
		var text *expression.Expression
		switch {
		case m.JSONPatch != nil:
			text = expression.JSONPatch(m.JSONPatch.Expression)
		case m.ApplyConfiguration != nil:
			text = expression.ApplyConfiguration(m.ApplyConfiguration.Expression)
		default:
			return nil, fmt.Errorf("a mutation of type %q says nothing", m.PatchType)
		}
		c.all = append(c.all, change{m.PatchType, set.CompileMutation(text, declared)})
	}
	return c, nil
}

// change makes one change to the object.
func (r *mutating) change(ctx context.Context, a *state.Attributes, i invocation, set *expression.Set, m change, in *expression.Input) error {
	if a.Object == nil {
		kind := match.SentKind(a, i.kind)
		return apierrors.NewServiceUnavailable(fmt.Sprintf("Resource kind %s not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.", kind))
	}
	want, err := in.Change(ctx, set, m.Mutation, i.param)
	if err != nil {
		return err
	}
	shown, _, err := match.Show(ctx, a, i.kind)
	if err != nil {
		return err
	}
	var fresh state.Object
	if m.kind == admissionregistrationv1.PatchTypeJSONPatch {
		fresh, err = patched(shown, want)
	} else {
		fresh, err = r.applied(i.kind, shown, want)
	}
	if err != nil || fresh == nil {
		return err
	}
	return match.Take(ctx, a, i.kind, fresh)
}

// patched is the object after a JSON patch; nil if a test in the patch failed, which leaves the object as it is.
func patched(shown runtime.Object, want ref.Val) (state.Object, error) {
	steps, err := expression.Steps(want)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("failed to create JSON patch: %w", err)
	}
	after, err := steps.Apply(before)
	if errors.Is(err, jsonpatch.ErrTestFailed) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("JSON Patch: %w", err)
	}
	fresh, err := match.Decode(shown, after, true)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return fresh, nil
}

// applied is the object with the fields of an ApplyConfiguration. Nobody becomes their owner: what a policy sets is set
// anew in every write.
func (r *mutating) applied(kind *resource.Kind, shown runtime.Object, want ref.Val) (state.Object, error) {
	fields, err := expression.Fields(want)
	if err != nil {
		return nil, err
	}
	types, err := r.rule.types(kind, shown)
	if err != nil {
		return nil, err
	}
	configuration := &unstructured.Unstructured{Object: fields}
	configuration.SetGroupVersionKind(shown.GetObjectKind().GroupVersionKind())
	merged, err := merge(types, shown, configuration)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: %w", err)
	}
	after, err := json.Marshal(merged)
	if err != nil {
		return nil, err
	}
	return match.Decode(shown, after, false)
}

func merge(types managedfields.TypeConverter, shown runtime.Object, configuration *unstructured.Unstructured) (runtime.Object, error) {
	patch, err := types.ObjectToTyped(configuration)
	if err != nil {
		return nil, fmt.Errorf("failed to convert patch object to typed object: %w", err)
	}
	if all := atomics(nil, patch.Schema(), patch.TypeRef(), patch.AsValue()); len(all) > 0 {
		return nil, fmt.Errorf("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %v", strings.Join(all, ", "))
	}
	live, err := types.ObjectToTyped(shown, typed.AllowDuplicates)
	if err != nil {
		return nil, fmt.Errorf("failed to convert original object to typed object: %w", err)
	}
	merged, err := live.Merge(patch)
	if err != nil {
		return nil, fmt.Errorf("failed to merge patch: %w", err)
	}
	out, err := types.TypedToObject(merged)
	if err != nil {
		return nil, fmt.Errorf("failed to convert typed object to object: %w", err)
	}
	return out, nil
}

// atomics are the paths of what would be replaced as a whole: whoever sets a part of it may not know the rest.
func atomics(path fieldpath.Path, s *schema.Schema, of schema.TypeRef, v value.Value) (all []string) {
	atom, ok := s.Resolve(of)
	if !ok {
		return nil
	}
	if v.IsMap() && atom.Map != nil {
		if atom.Map.ElementRelationship == schema.Atomic {
			all = append(all, path.String())
		}
		v.AsMap().Iterate(func(name string, field value.Value) bool {
			if f, ok := atom.Map.FindField(name); ok {
				all = append(all, atomics(append(slices.Clone(path), fieldpath.PathElement{FieldName: &name}), s, f.Type, field)...)
			}
			return true
		})
	}
	if v.IsList() && atom.List != nil {
		if atom.List.ElementRelationship == schema.Atomic {
			all = append(all, path.String())
		}
		list := v.AsList()
		for i := range list.Length() {
			all = append(all, atomics(append(slices.Clone(path), fieldpath.PathElement{Index: &i}), s, atom.List.ElementType, list.At(i))...)
		}
	}
	return all
}
