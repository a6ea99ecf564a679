// Package podsecurity is the admission rule PodSecurity: the levels privileged, baseline and
// restricted of the Pod Security Standards, as a namespace's labels ask for them. What each level
// means is k8s.io/pod-security-admission/policy's business.
package podsecurity

import (
	"context"
	"fmt"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"wherry/orchestrator/state"
)

// Rule is a Validating rule. Nobody is exempt; namespaces without labels are privileged.
type Rule struct{ checks policy.Evaluator }

// New makes the rule.
func New() *Rule {
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		panic(fmt.Sprintf("podsecurity: the checks contradict each other: %v", err)) // they are constants
	}
	return &Rule{checks}
}

// privileged is what holds where labels say nothing.
var privileged = func() api.Policy {
	lv := api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
	return api.Policy{Enforce: lv, Audit: lv, Warn: lv}
}()

// ignored are subresources of pods that change nothing of what is judged.
var ignored = map[string]bool{"binding": true, "eviction": true, "status": true}

// Validate implements admission.Validating.
func (r *Rule) Validate(_ context.Context, a *state.Attributes) error {
	if a.Operation != state.OpCreate && a.Operation != state.OpUpdate {
		return nil
	}
	switch obj := a.Object.(type) {
	case *corev1.Namespace:
		if a.Subresource != "" {
			return nil
		}
		return r.namespace(a, obj)
	case *corev1.Pod:
		if ignored[a.Subresource] || a.Old != nil && !significant(obj, a.Old.(*corev1.Pod)) {
			return nil
		}
		return r.pod(a, &obj.ObjectMeta, &obj.Spec, true)
	}
	if meta, spec := template(a.Object); spec != nil && a.Subresource == "" {
		return r.pod(a, meta, spec, false)
	}
	return nil
}

// template is what an object makes pods of, or nil.
func template(obj state.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	var t *corev1.PodTemplateSpec
	switch o := obj.(type) {
	case *corev1.PodTemplate:
		t = &o.Template
	case *corev1.ReplicationController:
		t = o.Spec.Template
	case *appsv1.ReplicaSet:
		t = &o.Spec.Template
	case *appsv1.Deployment:
		t = &o.Spec.Template
	case *appsv1.StatefulSet:
		t = &o.Spec.Template
	case *appsv1.DaemonSet:
		t = &o.Spec.Template
	case *batchv1.Job:
		t = &o.Spec.Template
	case *batchv1.CronJob:
		t = &o.Spec.JobTemplate.Spec.Template
	}
	if t == nil {
		return nil, nil
	}
	return &t.ObjectMeta, &t.Spec
}

// pod judges a pod, or a template of which pods will be made: that is never refused.
func (r *Rule) pod(a *state.Attributes, meta *metav1.ObjectMeta, spec *corev1.PodSpec, enforce bool) error {
	namespace, ok := state.Get[*corev1.Namespace](a.Reader, "", a.Namespace)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("failed to lookup namespace %q", a.Namespace))
	}
	asked, errs := api.PolicyToEvaluate(namespace.Labels, privileged)
	if err := errs.ToAggregate(); err != nil {
		annotate(a, "error", fmt.Sprintf("Failed to parse policy: %v", err))
	}
	results := map[api.LevelVersion]policy.AggregateCheckResult{}
	judge := func(lv api.LevelVersion) policy.AggregateCheckResult {
		if _, ok := results[lv]; !ok {
			results[lv] = policy.AggregateCheckResults(r.checks.EvaluatePod(lv, meta, spec))
		}
		return results[lv]
	}
	var refused error
	if enforce {
		annotate(a, api.EnforcedPolicyAnnotationKey, asked.Enforce.String())
		if result := judge(asked.Enforce); !result.Allowed {
			refused = apierrors.NewForbidden(a.Kind.GroupResource(), a.Name,
				fmt.Errorf("violates PodSecurity %q: %s", asked.Enforce.String(), result.ForbiddenDetail()))
		}
	}
	if result := judge(asked.Audit); !result.Allowed {
		annotate(a, api.AuditViolationsAnnotationKey, fmt.Sprintf("would violate PodSecurity %q: %s", asked.Audit.String(), result.ForbiddenDetail()))
	}
	if refused != nil {
		return refused
	}
	if result := judge(asked.Warn); !result.Allowed {
		a.Warn(fmt.Sprintf("would violate PodSecurity %q: %s", asked.Warn.String(), result.ForbiddenDetail()))
	}
	return nil
}

func annotate(a *state.Attributes, key, value string) {
	a.Annotate("pod-security.kubernetes.io/"+key, value)
}

// namespace refuses labels that say nothing, and tells which pods a stricter level would not let in.
func (r *Rule) namespace(a *state.Attributes, ns *corev1.Namespace) error {
	asked, errs := api.PolicyToEvaluate(ns.Labels, privileged)
	if a.Operation == state.OpCreate {
		return invalid(a, errs)
	}
	before, errsBefore := api.PolicyToEvaluate(a.Old.GetLabels(), privileged)
	if len(errs) > 0 && (len(errsBefore) == 0 || !reflect.DeepEqual(errs, errsBefore)) {
		return invalid(a, errs)
	}
	relaxed := asked.Enforce.Version == before.Enforce.Version && api.CompareLevels(asked.Enforce.Level, before.Enforce.Level) < 1
	if asked.Enforce == before.Enforce || asked.Enforce.Level == api.LevelPrivileged || relaxed {
		return nil
	}
	for _, text := range r.existing(a.Reader, ns.Name, asked.Enforce) {
		a.Warn(text)
	}
	return nil
}

func invalid(a *state.Attributes, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(a.Kind.GroupVersionKind.GroupKind(), a.Name, errs)
}

// significant says whether an update of a pod changes anything that the standards are about.
func significant(pod, old *corev1.Pod) bool {
	changed := func(now, then []corev1.Container) bool {
		if len(now) != len(then) {
			return true
		}
		for i := range now {
			if now[i].Image != then[i].Image {
				return true
			}
		}
		return false
	}
	if changed(pod.Spec.Containers, old.Spec.Containers) || changed(pod.Spec.InitContainers, old.Spec.InitContainers) {
		return true
	}
	images := map[string]string{}
	for _, c := range old.Spec.EphemeralContainers {
		images[c.Name] = c.Image
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if image, there := images[c.Name]; !there || image != c.Image {
			return true
		}
	}
	return false
}
