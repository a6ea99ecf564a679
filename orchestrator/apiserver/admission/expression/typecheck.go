package expression

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Typed is what expressions see, with types. A nil schema is anything.
type Typed struct {
	Kind      string // of object and oldObject
	Object    *spec.Schema
	HasParams bool
	ParamKind string
	Params    *spec.Schema
}

// Checker compiles expressions against types, and does not run them.
type Checker struct {
	compiler *plugin.CompositedCompiler
	declared Declared
}

// NewChecker makes a checker, with variables that expressions see as variables.NAME.
func NewChecker(t Typed, variables []Named) (*Checker, error) {
	env, err := t.environment()
	if err != nil {
		return nil, fmt.Errorf("building an environment to check types: %w", err)
	}
	compiler, err := plugin.NewCompositedCompilerForTypeChecking(env)
	if err != nil {
		return nil, fmt.Errorf("building an environment to check types: %w", err)
	}
	compiler.Compiler = typing{compiler}
	c := &Checker{compiler, Declared{HasParams: t.HasParams, HasAuthorizer: true}}
	compiler.CompileAndStoreVariables(variables, c.declared, environment.StoredExpressions)
	return c, nil
}

// Check returns what is wrong with an expression, "" if nothing is.
func (c *Checker) Check(text string) string {
	result := c.compiler.CompileCELExpression(&Expression{Text: text}, c.declared, environment.StoredExpressions)
	switch {
	case result.Error == nil:
		return ""
	case errors.Is(result.Error, apiservercel.ErrInvalid):
		return result.Error.Error()
	}
	return "type checking error: " + result.Error.Error()
}

func (t *Typed) environment() (*environment.EnvSet, error) {
	namespace, request := plugin.BuildNamespaceType(), plugin.BuildRequestType()
	types := []*apiservercel.DeclType{namespace, request}
	variables := []cel.EnvOption{
		cel.Variable(plugin.NamespaceVarName, namespace.CelType()), cel.Variable(plugin.RequestVarName, request.CelType()),
		cel.Variable(plugin.AuthorizerVarName, library.AuthorizerType),
	}
	declare := func(s *spec.Schema, typeName string, names ...string) {
		of := cel.DynType
		if s != nil {
			if declared := common.SchemaDeclType(&openapi.Schema{Schema: s}, true); declared != nil {
				declared = declared.MaybeAssignTypeName(typeName)
				types = append(types, declared)
				of = declared.CelType()
			}
		}
		for _, name := range names {
			variables = append(variables, cel.Variable(name, of))
		}
	}
	declare(t.Object, t.Kind+"1", plugin.ObjectVarName, plugin.OldObjectVarName)
	if t.HasParams {
		declare(t.Params, t.ParamKind+"2", plugin.ParamsVarName)
	}
	return base().Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: variables, DeclTypes: types})
}

// typing compiles and makes no program.
type typing struct{ of *plugin.CompositedCompiler }

// CompileCELExpression implements plugin.Compiler.
func (t typing) CompileCELExpression(e plugin.ExpressionAccessor, _ Declared, mode environment.Type) plugin.CompilationResult {
	env, err := t.of.Env(mode)
	if err != nil {
		return plugin.CompilationResult{ExpressionAccessor: e, Error: &apiservercel.Error{Type: apiservercel.ErrorTypeInternal, Detail: err.Error()}}
	}
	ast, issues := env.Compile(e.GetExpression())
	if issues != nil {
		return plugin.CompilationResult{ExpressionAccessor: e, Error: &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: issues.String()}}
	}
	return plugin.CompilationResult{OutputType: ast.OutputType()}
}
