package definition

import (
	"fmt"
	"math"
	"slices"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Bounds of what rules may cost, as they are estimated from the bounds in the schema.
const (
	expressionCost = 10_000_000
	schemaCost     = 100_000_000
)

var reasons = []string{
	string(apiextensions.FieldValueDuplicate), string(apiextensions.FieldValueForbidden),
	string(apiextensions.FieldValueInvalid), string(apiextensions.FieldValueRequired),
}

// ruleShape judges what can be said of a rule without compiling it.
func ruleShape(s *props, r *apiextensions.ValidationRule, at *field.Path) (errs field.ErrorList) {
	rule, message := strings.TrimSpace(r.Rule), strings.TrimSpace(r.Message)
	switch {
	case rule == "":
		errs = append(errs, field.Required(at.Child("rule"), "rule is not specified"))
	case r.Message != "" && message == "":
		errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must be non-empty if specified"))
	case broken(message):
		errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must not contain line breaks"))
	case broken(rule) && message == "":
		errs = append(errs, field.Required(at.Child("message"), "message must be specified if rule contains line breaks"))
	}
	if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
		errs = append(errs, field.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified"))
	}
	if r.Reason != nil && !slices.Contains(reasons, string(*r.Reason)) {
		errs = append(errs, field.NotSupported(at.Child("reason"), *r.Reason, reasons))
	}
	if r.FieldPath == "" {
		return errs
	}
	path := at.Child("fieldPath")
	if strings.TrimSpace(r.FieldPath) == "" {
		errs = append(errs, field.Invalid(path, r.FieldPath, "must be non-empty if specified"))
	}
	if broken(r.FieldPath) {
		errs = append(errs, field.Invalid(path, r.FieldPath, "must not contain line breaks"))
	}
	if structural, err := schema.NewStructural(s); err == nil {
		if _, _, err := cel.ValidFieldPath(r.FieldPath, structural); err != nil {
			errs = append(errs, field.Invalid(path, r.FieldPath, "must be a valid path"))
		}
	}
	return errs
}

func broken(s string) bool { return strings.ContainsAny(s, "\r\n") }

// rules compiles the rules of a node and adds up what they may cost.
func (w *walk) rules(s *props, at place) (errs field.ErrorList) {
	path := at.path.Child("x-kubernetes-validations")
	structural, err := schema.NewStructural(s)
	if err != nil {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("internal error: failed to construct type information for x-kubernetes-validations rules: %w", err))}
	}
	declared := model.SchemaDeclType(structural, at.root || s.XEmbeddedResource)
	if declared == nil {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("internal error: failed to construct type information for x-kubernetes-validations rules: %s", "unable to convert structural schema to CEL declarations"))}
	}
	compiled, err := cel.Compile(structural, declared, celconfig.PerCallLimit, environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()), w.known)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	for i, result := range compiled {
		errs = append(errs, w.rule(&s.XValidations[i], result, at, path.Index(i))...)
	}
	return errs
}

func (w *walk) rule(r *apiextensions.ValidationRule, result cel.CompilationResult, at place, path *field.Path) (errs field.ErrorList) {
	expensive := func(child, name string, n uint64) {
		if !w.cheap && n > expressionCost {
			errs = append(errs, field.Forbidden(path.Child(child), exceeds(name, n, expressionCost)))
		}
		w.total.add(path.Child(child), n)
	}
	cardinality := result.MaxCardinality
	if at.cardinality != nil {
		cardinality = *at.cardinality
	}
	expensive("rule", "estimated rule cost", multiply(result.MaxCost, cardinality))
	if err := result.Error; err != nil {
		if err.Type == apiservercel.ErrorTypeRequired {
			errs = append(errs, field.Required(path.Child("rule"), err.Detail))
		} else {
			errs = append(errs, field.Invalid(path.Child("rule"), *r, err.Detail))
		}
	}
	if err := result.MessageExpressionError; err != nil {
		errs = append(errs, field.Invalid(path.Child("messageExpression"), *r, err.Detail))
	} else if result.MessageExpression != nil {
		expensive("messageExpression", "estimated messageExpression cost", result.MessageExpressionMaxCost)
	}
	switch {
	case result.UsesOldSelf && at.uncorrelated != nil:
		errs = append(errs, field.Invalid(path.Child("rule"), r.Rule, fmt.Sprintf("oldSelf cannot be used on the uncorrelatable portion of the schema within %v", at.uncorrelated)))
	case !result.UsesOldSelf && r.OptionalOldSelf != nil:
		errs = append(errs, field.Invalid(path.Child("optionalOldSelf"), *r.OptionalOldSelf, "may not be set if oldSelf is not used in rule"))
	}
	return errs
}

// cost adds up what the rules of a schema may cost.
type cost struct {
	sum  uint64
	most []expense // the largest first, at most four
}

type expense struct {
	path *field.Path
	cost uint64
}

func (c *cost) add(path *field.Path, n uint64) {
	if c.sum += n; c.sum < n {
		c.sum = math.MaxUint64
	}
	if n < schemaCost/100 {
		return
	}
	c.most = append(c.most, expense{path, n})
	slices.SortStableFunc(c.most, func(a, b expense) int {
		switch {
		case a.cost > b.cost:
			return -1
		case a.cost < b.cost:
			return 1
		}
		return 0
	})
	c.most = c.most[:min(len(c.most), 4)]
}

func (c *cost) exceeded(at *field.Path) (errs field.ErrorList) {
	if c == nil || c.sum <= schemaCost {
		return nil
	}
	for _, e := range c.most {
		errs = append(errs, field.Forbidden(e.path, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"))
	}
	return append(errs, field.Forbidden(at, exceeds("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", c.sum, schemaCost)))
}

func exceeds(name string, n, limit uint64) string {
	factor := float64(n) / float64(limit)
	text := fmt.Sprintf("%.1fx", factor)
	switch {
	case factor > 100:
		text = "more than 100x"
	case factor < 1.5:
		text = fmt.Sprintf("%fx", factor)
	}
	return fmt.Sprintf("%s exceeds budget by factor of %s (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)", name, text)
}

// multiply stays at the largest number.
func multiply(a, b uint64) uint64 {
	if a != 0 && math.MaxUint64/a < b {
		return math.MaxUint64
	}
	return a * b
}

func bounded(n uint64) *uint64 { return &n }

// times is nil, not bounded, if one of both is.
func times(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	return bounded(multiply(*a, *b))
}

// elements bounds how many children of one sort a node has; nil: it does not.
func elements(s *props) *uint64 {
	limit := func(n *int64) *uint64 {
		if n == nil {
			return nil
		}
		return bounded(uint64(max(*n, 0)))
	}
	switch {
	case s.Type == "object" && s.AdditionalProperties != nil:
		return limit(s.MaxProperties)
	case s.Type == "array":
		return limit(s.MaxItems)
	}
	return bounded(1)
}

// expressions are those that were accepted before: they compile by what was known then.
type expressions struct{ rules, messages map[string]bool }

// RuleEnv and MessageExpressionEnv implement cel.EnvLoader.
func (e expressions) RuleEnv(envs *environment.EnvSet, expression string) *celgo.Env {
	return env(envs, e.rules[expression])
}

// MessageExpressionEnv is described at RuleEnv.
func (e expressions) MessageExpressionEnv(envs *environment.EnvSet, expression string) *celgo.Env {
	return env(envs, e.messages[expression])
}

func env(envs *environment.EnvSet, known bool) *celgo.Env {
	if known {
		return envs.StoredExpressionsEnv()
	}
	return envs.NewExpressionsEnv()
}

func expressionsOf(spec *apiextensions.CustomResourceDefinitionSpec) expressions {
	e := expressions{map[string]bool{}, map[string]bool{}}
	if spec.Validation != nil {
		e.gather(spec.Validation.OpenAPIV3Schema)
	}
	for _, v := range spec.Versions {
		if v.Schema != nil {
			e.gather(v.Schema.OpenAPIV3Schema)
		}
	}
	return e
}

func (e expressions) gather(s *props) {
	if s == nil {
		return
	}
	for _, r := range s.XValidations {
		e.rules[r.Rule] = true
		if r.MessageExpression != "" {
			e.messages[r.MessageExpression] = true
		}
	}
	if s.Items != nil {
		e.gather(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		e.gather(s.AdditionalProperties.Schema)
	}
	for _, p := range s.Properties {
		e.gather(&p)
	}
}
