package expression

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/mutation"
	"k8s.io/apiserver/pkg/cel/mutation/dynamic"
)

// Mutation is a compiled expression that says how an object is to be changed.
type Mutation = plugin.MutatingEvaluator

// ApplyConfiguration makes an expression that gives an Object with the fields that are to be set, JSONPatch one that
// gives a list of JSONPatch.
func ApplyConfiguration(text string) *Expression {
	return &Expression{Text: text, Types: []*cel.Type{types.NewObjectType(mutation.ObjectTypeName)}}
}

// JSONPatch makes an expression that gives a list of JSONPatch.
func JSONPatch(text string) *Expression {
	return &Expression{Text: text, Types: []*cel.Type{cel.ListType(types.NewObjectType(mutation.JSONPatchTypeName))}}
}

// CompileMutation compiles a mutation of the set.
func (s *Set) CompileMutation(e *Expression, o Declared) Mutation {
	o.HasPatchTypes = true
	return s.compiler.CompileMutatingEvaluator(e, o, environment.StoredExpressions)
}

// Change evaluates a mutation.
func (in *Input) Change(ctx context.Context, s *Set, m Mutation, params runtime.Object) (ref.Val, error) {
	if wrong := m.CompilationErrors(); len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	bindings := in.context
	bindings.VersionedParams = params
	result, _, err := m.ForInput(s.compiler.CreateContext(ctx), in.versioned, in.request, bindings, in.namespace, CostOfPolicy)
	if err != nil {
		return nil, err
	}
	return result.EvalResult, result.Error
}

// Fields are what an Object of an ApplyConfiguration sets.
func Fields(v ref.Val) (map[string]any, error) {
	object, ok := v.(*dynamic.ObjectVal)
	if !ok {
		return nil, fmt.Errorf("unsupported return type from ApplyConfiguration expression: %v", v.Type())
	}
	if err := object.CheckTypeNamesMatchFieldPathNames(); err != nil {
		return nil, fmt.Errorf("type mismatch: %w", err)
	}
	fields, ok := object.Value().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("invalid return type: %T", v)
	}
	return fields, nil
}

// Steps are what a list of JSONPatch does.
func Steps(v ref.Val) (jsonpatch.Patch, error) {
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, errors.New("type mismatch: JSONPatchType.expression should evaluate to array")
	}
	var steps jsonpatch.Patch
	for i := list.Iterator(); i.HasNext() == types.True; {
		next := i.Next()
		one, ok := next.(*mutation.JSONPatchVal)
		if !ok {
			return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of %T", next)
		}
		step, err := stepOf(one)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func stepOf(one *mutation.JSONPatchVal) (jsonpatch.Operation, error) {
	step := jsonpatch.Operation{}
	for name, text := range map[string]string{"op": one.Op, "path": one.Path, "from": one.From} {
		if name == "from" && text == "" {
			continue
		}
		raw, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		step[name] = (*json.RawMessage)(&raw)
	}
	if one.Val == nil {
		return step, nil
	}
	if object, ok := one.Val.(*dynamic.ObjectVal); ok {
		if err := object.CheckTypeNamesMatchFieldPathNames(); err != nil {
			return nil, fmt.Errorf("type mismatch: %w", err)
		}
	}
	const never = "JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w"
	value, err := one.Val.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err != nil {
		return nil, fmt.Errorf(never, err)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf(never, err)
	}
	step["value"] = (*json.RawMessage)(&raw)
	return step, nil
}
