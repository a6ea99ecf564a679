// Package webhook asks webhooks: MutatingWebhookConfigurations, whose hooks may change an object one after the other, and
// ValidatingWebhookConfigurations, whose hooks may refuse it and are asked all at once.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/admission/expression"
	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/reach"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Config is what webhooks need of the server.
type Config struct {
	Post *reach.Webhooks // nil: those with a URL are reached
	// Authorizer is asked by match conditions; nil: conditions that ask it fail.
	Authorizer auth.Authorizer
	Logger     *slog.Logger
}

// Hooks are what both rules share: compiled conditions. See Mutating and Validating.
type Hooks struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex
	compiled map[string]*compiled // by configuration and index
}

// New prepares to ask webhooks.
func New(c Config) *Hooks {
	h := &Hooks{config: c, log: c.Logger, compiled: map[string]*compiled{}}
	if c.Post == nil {
		h.config.Post = new(reach.Webhooks)
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	return h
}

// Mutating and Validating are the rules.
func (h *Hooks) Mutating() *Mutating     { return &Mutating{h} }
func (h *Hooks) Validating() *Validating { return &Validating{h} }

// hook is one webhook of a configuration, whichever kind.
type hook struct {
	id             string // uid, revision and place: another one when its configuration changes
	configuration  string
	name           string
	client         admissionregistrationv1.WebhookClientConfig
	criteria       match.Criteria
	fail           bool // what cannot be asked refuses
	timeout        time.Duration
	versions       []string
	harmless       bool // has no side effects in a dry run
	conditions     []admissionregistrationv1.MatchCondition
	again          bool // may be asked once more after others
	configRevision string
}

func (h *Hooks) hookOf(meta *metav1.ObjectMeta, i int, w admissionregistrationv1.ValidatingWebhook) *hook {
	harmless := w.SideEffects != nil && (*w.SideEffects == admissionregistrationv1.SideEffectClassNone || *w.SideEffects == admissionregistrationv1.SideEffectClassNoneOnDryRun)
	timeout := int32(10)
	if w.TimeoutSeconds != nil {
		timeout = *w.TimeoutSeconds
	}
	out := &hook{
		id: fmt.Sprintf("%s/%d", meta.UID, i), configRevision: meta.ResourceVersion, configuration: meta.Name, name: w.Name, client: w.ClientConfig,
		fail:    w.FailurePolicy == nil || *w.FailurePolicy == admissionregistrationv1.Fail,
		timeout: time.Duration(timeout) * time.Second, versions: w.AdmissionReviewVersions, harmless: harmless, conditions: w.MatchConditions,
		criteria: match.Criteria{
			Namespaces: w.NamespaceSelector, Objects: w.ObjectSelector,
			Equivalent: w.MatchPolicy == nil || *w.MatchPolicy == admissionregistrationv1.Equivalent,
		},
	}
	for _, r := range w.Rules {
		out.criteria.Rules = append(out.criteria.Rules, match.Rule{RuleWithOperations: r})
	}
	return out
}

func (h *Hooks) validating(s *state.State) []*hook {
	var all []*hook
	configs := state.List[*admissionregistrationv1.ValidatingWebhookConfiguration](s, state.Selector{})
	for _, c := range configs {
		for i, w := range c.Webhooks {
			all = append(all, h.hookOf(&c.ObjectMeta, i, w))
		}
	}
	return all
}

func (h *Hooks) mutating(s *state.State) []*hook {
	var all []*hook
	configs := state.List[*admissionregistrationv1.MutatingWebhookConfiguration](s, state.Selector{})
	for _, c := range configs {
		for i, w := range c.Webhooks {
			one := h.hookOf(&c.ObjectMeta, i, admissionregistrationv1.ValidatingWebhook{
				Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
				NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
				TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
			})
			one.again = w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionregistrationv1.IfNeededReinvocationPolicy
			all = append(all, one)
		}
	}
	return all
}

// wanted returns the version in which a hook wants the request, nil if it does not. Errors refuse.
func (h *Hooks) wanted(ctx context.Context, a *state.Attributes, w *hook) (*resource.Kind, error) {
	kind, err := w.criteria.Match(a)
	if err != nil || kind == nil || len(w.conditions) == 0 {
		return kind, err
	}
	ok, err := h.conditions(ctx, a, w, kind)
	switch {
	case err != nil && w.fail:
		return nil, apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, err)
	case err != nil || !ok:
		return nil, nil
	}
	return kind, nil
}

// compiled are the conditions of a hook at one revision of its configuration.
type compiled struct {
	revision string
	set      *expression.Set
	all      expression.Evaluator
}

// maxCompiled bounds how many hooks' conditions are kept compiled.
const maxCompiled = 1000

func (h *Hooks) compile(w *hook) (*compiled, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.compiled[w.id]; c != nil && c.revision == w.configRevision {
		return c, nil
	}
	o := expression.Declared{HasAuthorizer: h.config.Authorizer != nil}
	set, err := expression.NewSet(nil, o)
	if err != nil {
		return nil, err
	}
	var texts []expression.Named
	for _, c := range w.conditions {
		texts = append(texts, expression.Bool(c.Name, c.Expression))
	}
	if len(h.compiled) >= maxCompiled {
		clear(h.compiled)
	}
	c := &compiled{w.configRevision, set, set.Compile(texts, o)}
	h.compiled[w.id] = c
	return c, nil
}

// conditions says whether all conditions hold. One that is false counts more than one that cannot be told.
func (h *Hooks) conditions(ctx context.Context, a *state.Attributes, w *hook, kind *resource.Kind) (bool, error) {
	c, err := h.compile(w)
	if err != nil {
		return false, err
	}
	in, err := expression.NewInput(ctx, a, kind, h.config.Authorizer)
	if err != nil {
		return false, err
	}
	results, _, err := in.Ask(ctx, c.set, c.all, nil, expression.CostOfConditions)
	if err != nil {
		return false, err
	}
	return expression.AllHold(results)
}

// ask calls a hook and returns its answer. Errors: the Status that refuses; nil, nil: it could not be asked and that is forgiven.
func (h *Hooks) ask(ctx context.Context, a *state.Attributes, w *hook, kind *resource.Kind) (*answer, error) {
	if a.DryRun && !w.harmless {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", w.name))
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	got, err := h.call(ctx, a, w, kind)
	if err != nil {
		h.log.Warn("a webhook failed", "webhook", w.name, "configuration", w.configuration, "took", time.Since(began), "error", err)
		if w.fail {
			return nil, apierrors.NewInternalError(fmt.Errorf("failed calling webhook %q: %w", w.name, err))
		}
		a.Annotate("failed-open.webhook.admission.k8s.io/"+w.name, "true")
		return nil, nil
	}
	for key, value := range got.AuditAnnotations {
		a.Annotate(w.name+"/"+key, value)
	}
	for _, text := range got.Warnings {
		a.Warn(text)
	}
	if !got.Allowed {
		return nil, denied(w.name, got.Result)
	}
	return got, nil
}

// denied is the Status of a refusal: the hook's own, with its name before.
func denied(name string, result *metav1.Status) error {
	by := fmt.Sprintf("admission webhook %q denied the request", name)
	var s metav1.Status
	if result != nil {
		s = *result
	}
	s.Status = metav1.StatusFailure
	if s.Code < 400 {
		s.Code = 400
	}
	if why := cmp.Or(s.Message, string(s.Reason)); why != "" {
		s.Message = by + ": " + why
	} else {
		s.Message = by + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: s}
}

// Validating is the rule of ValidatingWebhookConfigurations.
type Validating struct{ hooks *Hooks }

// Validate implements admission.Validating. All hooks are asked at once; the first refusal by their order counts.
func (v *Validating) Validate(ctx context.Context, a *state.Attributes) error {
	var calls []func() error
	for _, w := range v.hooks.validating(a.Reader) {
		kind, err := v.hooks.wanted(ctx, a, w)
		if err != nil {
			return err
		}
		if kind != nil {
			calls = append(calls, func() error { _, err := v.hooks.ask(ctx, a, w, kind); return err })
		}
	}
	errs := make([]error, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() { errs[i] = call() })
	}
	all.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

var errImmutable = errors.New("it attempted to modify the object, which is not supported for this operation")
