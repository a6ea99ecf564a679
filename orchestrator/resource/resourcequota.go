package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func resourceQuotas() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("ResourceQuota"),
		Plural:              "resourcequotas",
		Singular:            "resourcequota",
		ShortNames:          []string{"quota"},
		Namespaced:          true,
		New:                 newObject[corev1.ResourceQuota],
		NewList:             newList[corev1.ResourceQuotaList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} }),
		PrepareForUpdate: typedUpdate(func(q, old *corev1.ResourceQuota) { q.Status = *old.Status.DeepCopy() }),
		Validate:         validate(validation.ValidateResourceQuota),
		ValidateUpdate:   validateUpdate(validation.ValidateResourceQuotaUpdate),
		Warnings:         typedWarnings(quotaWarnings),
		Resets:           resets(statusField),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Request", "string", "Request represents a minimum amount of cpu/memory that a container may consume."),
			column("Limit", "string", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
			ageColumn,
		},
		Row: row(quotaRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(q, old *corev1.ResourceQuota) { q.Spec = *old.Spec.DeepCopy() }),
			ValidateUpdate:   validateUpdate(validation.ValidateResourceQuotaStatusUpdate),
			Resets:           resets(specField),
		}},
	}
}

// quotaWarnings are about requests that exceed limits.
func quotaWarnings(q, old *corev1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var warnings []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		requests, limits := "requests."+name, "limits."+name
		request, ok := q.Spec.Hard[requests]
		if !ok && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			requests = name
			request, ok = q.Spec.Hard[name]
		}
		if limit, limited := q.Spec.Hard[limits]; ok && limited && request.Cmp(limit) > 0 {
			warnings = append(warnings, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requests, request.String(), limits, limit.String()))
		}
	}
	return warnings
}

func quotaRow(q *corev1.ResourceQuota) []any {
	var requests, limits []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		cell := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, cell)
		} else {
			requests = append(requests, cell)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), age(q)}
}
