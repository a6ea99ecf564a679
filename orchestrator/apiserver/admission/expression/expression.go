// Package expression compiles and asks the CEL expressions of webhooks and policies, with Kubernetes' own
// environment (k8s.io/apiserver/pkg/admission/plugin/cel). Nothing is built before the first expression comes.
package expression

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"

	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// The library's words, so that nobody else names it.
type (
	Named     = plugin.NamedExpressionAccessor
	Declared  = plugin.OptionalVariableDeclarations // variables beside the usual ones: params, authorizer, types for patches
	Evaluator = plugin.ConditionEvaluator
	Result    = plugin.EvaluationResult
)

// Bounds of what expressions may cost, in the library's unit.
const (
	CostOfConditions = celconfig.RuntimeCELCostBudgetMatchConditions
	CostOfPolicy     = celconfig.RuntimeCELCostBudget
)

// Expression is one with its name; it gives one of Types.
type Expression struct {
	Name, Text string
	Types      []*cel.Type
}

// GetName, GetExpression and ReturnTypes are what the compiler asks.
func (e *Expression) GetName() string          { return e.Name }
func (e *Expression) GetExpression() string    { return e.Text }
func (e *Expression) ReturnTypes() []*cel.Type { return e.Types }

// Bool makes an expression that says yes or no, Text one that gives a string, Any one that gives anything.
func Bool(name, text string) Named {
	return &Expression{name, text, []*cel.Type{cel.BoolType}}
}

// Text makes an expression that gives a string.
func Text(name, text string) Named {
	return &Expression{name, text, []*cel.Type{cel.StringType}}
}

// TextOrNull makes an expression that gives a string or null.
func TextOrNull(name, text string) Named {
	return &Expression{name, text, []*cel.Type{cel.StringType, cel.NullType}}
}

// Any makes an expression that gives anything.
func Any(name, text string) Named {
	return &Expression{name, text, []*cel.Type{cel.AnyType, cel.DynType}}
}

// base is Kubernetes' environment, which costs some megabytes.
var base = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

// Set are expressions that see the same variables. It may be asked concurrently.
type Set struct{ compiler *plugin.CompositedCompiler }

// bare compiles expressions without variables of their own: one environment for all of them, as making one takes tens of
// milliseconds.
var bare = sync.OnceValues(func() (*plugin.CompositedCompiler, error) { return plugin.NewCompositedCompiler(base()) })

// NewSet makes a set with the variables that expressions of it and later variables see as variables.NAME.
func NewSet(variables []Named, o Declared) (*Set, error) {
	compiler, err := bare()
	if err == nil && len(variables) > 0 {
		compiler, err = plugin.NewCompositedCompiler(base())
	}
	if err != nil {
		return nil, fmt.Errorf("building an environment for expressions: %w", err)
	}
	compiler.CompileAndStoreVariables(variables, o, environment.StoredExpressions)
	return &Set{compiler}, nil
}

// Compile compiles expressions of the set.
func (s *Set) Compile(all []Named, o Declared) Evaluator {
	accessors := make([]plugin.ExpressionAccessor, len(all))
	for i, e := range all {
		accessors[i] = e
	}
	return s.compiler.CompileCondition(accessors, o, environment.StoredExpressions)
}

// Input is a request as expressions see it: the objects as k shows them.
type Input struct {
	versioned *admission.VersionedAttributes
	request   *admissionv1.AdmissionRequest
	namespace *corev1.Namespace
	context   plugin.OptionalVariableBindings
}

// NewInput prepares a request. authorizer may be nil if no expression declares it.
func NewInput(ctx context.Context, a *state.Attributes, k *resource.Kind, az auth.Authorizer) (*Input, error) {
	obj, old, err := match.Show(ctx, a, k)
	if err != nil {
		return nil, err
	}
	who := info(a)
	sent := match.SentKind(a, k)
	record := admission.NewAttributesRecord(obj, old, sent, a.Namespace, a.Name, k.GroupVersionResource(), a.Subresource,
		admission.Operation(a.Operation), a.Options, a.DryRun, who)
	in := &Input{
		versioned: &admission.VersionedAttributes{Attributes: record, VersionedObject: obj, VersionedOldObject: old, VersionedKind: sent},
		request:   plugin.CreateAdmissionRequest(record, metav1.GroupVersionResource(k.GroupVersionResource()), metav1.GroupVersionKind(sent)),
	}
	if a.Kind.Namespaced {
		if ns, ok := state.Get[*corev1.Namespace](a.Reader, "", a.Namespace); ok {
			in.namespace = plugin.CreateNamespaceObject(ns)
		}
	}
	if az != nil {
		in.context.Authorizer = asker{az}
	}
	return in, nil
}

// Ask evaluates compiled expressions of a set within budget, and returns what is left of it.
func (in *Input) Ask(ctx context.Context, s *Set, e Evaluator, params runtime.Object, budget int64) ([]Result, int64, error) {
	bindings := in.context
	bindings.VersionedParams = params
	return e.ForInput(s.compiler.CreateContext(ctx), in.versioned, in.request, bindings, in.namespace, budget)
}

func info(a *state.Attributes) user.Info {
	if a.User == nil {
		return &user.DefaultInfo{Name: "system:apiserver", Groups: []string{"system:masters"}}
	}
	u := &user.DefaultInfo{Name: a.User.Username, UID: a.User.UID, Groups: a.User.Groups}
	for key, values := range a.User.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[key] = values
	}
	return u
}

// asker is our authorizer as CEL's library asks it.
type asker struct{ auth.Authorizer }

func (a asker) Authorize(ctx context.Context, r authorizer.Attributes) (authorizer.Decision, string, error) {
	who := r.GetUser()
	decision, reason, err := a.Authorizer.Authorize(ctx, &auth.Attributes{
		User: &auth.User{Name: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups(), Extra: who.GetExtra()},
		Verb: r.GetVerb(), Path: r.GetPath(), Resource: r.IsResourceRequest(), Group: r.GetAPIGroup(), Version: r.GetAPIVersion(),
		Plural: r.GetResource(), Subresource: r.GetSubresource(), Namespace: r.GetNamespace(), Name: r.GetName(),
	})
	switch decision {
	case auth.Allow:
		return authorizer.DecisionAllow, reason, err
	case auth.Deny:
		return authorizer.DecisionDeny, reason, err
	}
	return authorizer.DecisionNoOpinion, reason, err
}

// AllHold says whether all results are true: false counts more than an error.
func AllHold(results []Result) (bool, error) {
	var errs []error
	for _, r := range results {
		if r.Error != nil {
			errs = append(errs, r.Error)
		} else if r.EvalResult == types.False {
			return false, nil
		}
	}
	return len(errs) == 0, utilerrors.NewAggregate(errs)
}
