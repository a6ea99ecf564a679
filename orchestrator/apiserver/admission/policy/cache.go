package policy

import (
	"context"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/apiserver/admission/expression"
)

// maxCompiled bounds how many policies of a kind are kept compiled.
const maxCompiled = 1000

// cache keeps what policies are compiled to. The zero value is empty.
type cache[T any] struct {
	mu  sync.Mutex
	all map[types.UID]cached[T]
}

type cached[T any] struct {
	revision string
	compiled T
}

// get compiles a policy once in each of its revisions.
func (c *cache[T]) get(of *metav1.ObjectMeta, compile func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.all[of.UID]; ok && known.revision == of.ResourceVersion {
		return known.compiled, nil
	}
	made, err := compile()
	if err != nil {
		return made, err
	}
	if c.all == nil || len(c.all) >= maxCompiled {
		c.all = map[types.UID]cached[T]{}
	}
	c.all[of.UID] = cached[T]{of.ResourceVersion, made}
	return made, nil
}

func variables(all []admissionregistrationv1.Variable) []expression.Named {
	var named []expression.Named
	for _, v := range all {
		named = append(named, expression.Any(v.Name, v.Expression))
	}
	return named
}

// conditions are nil where there are none.
func conditions(set *expression.Set, all []admissionregistrationv1.MatchCondition, o expression.Declared) expression.Evaluator {
	if len(all) == 0 {
		return nil
	}
	var named []expression.Named
	for _, c := range all {
		named = append(named, expression.Bool(c.Name, c.Expression))
	}
	return set.Compile(named, o)
}

// hold says whether all conditions hold.
func hold(ctx context.Context, in *expression.Input, set *expression.Set, conditions expression.Evaluator, param runtime.Object) (bool, error) {
	if conditions == nil {
		return true, nil
	}
	results, _, err := in.Ask(ctx, set, conditions, param, expression.CostOfConditions)
	if err != nil {
		return false, err
	}
	return expression.AllHold(results)
}
