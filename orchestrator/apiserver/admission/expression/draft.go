package expression

import (
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Draft compiles expressions to tell what is wrong with them, in the order in which they are given.
type Draft struct {
	Errors   field.ErrorList
	compiler *plugin.CompositedCompiler
}

// NewDraft makes a draft; variables: there will be some.
func NewDraft(variables bool) (*Draft, error) {
	if !variables {
		compiler, err := bare()
		return &Draft{compiler: compiler}, err
	}
	compiler, err := plugin.NewCompositedCompiler(base())
	return &Draft{compiler: compiler}, err
}

// Variable compiles what later expressions see as variables.NAME.
func (d *Draft) Variable(v Named, o Declared, at *field.Path) {
	d.note(d.compiler.CompileAndStoreVariable(v, o, environment.NewExpressions), v, at)
}

// Compile compiles an expression.
func (d *Draft) Compile(e plugin.ExpressionAccessor, o Declared, at *field.Path) {
	d.note(d.compiler.CompileCELExpression(e, o, environment.NewExpressions), e, at)
}

func (d *Draft) note(result plugin.CompilationResult, e plugin.ExpressionAccessor, at *field.Path) {
	switch err := result.Error; {
	case err == nil:
	case err.Type == apiservercel.ErrorTypeRequired:
		d.Errors = append(d.Errors, field.Required(at, err.Detail))
	case err.Type == apiservercel.ErrorTypeInvalid:
		d.Errors = append(d.Errors, field.Invalid(at, e.GetExpression(), err.Detail))
	default:
		d.Errors = append(d.Errors, field.InternalError(at, err))
	}
}
