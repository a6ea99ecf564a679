package resource

import (
	"fmt"
	"strconv"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	"k8s.io/kubernetes/pkg/apis/autoscaling/validation"
)

// horizontalPodAutoscalers are stored in version 2 and shown in version 1 too.
func horizontalPodAutoscalers() *Kind {
	k := horizontalPodAutoscalerKind(autoscalingv2.SchemeGroupVersion)
	k.New, k.NewList = newObject[autoscalingv2.HorizontalPodAutoscaler], newList[autoscalingv2.HorizontalPodAutoscalerList]
	k.Row = row(horizontalPodAutoscalerRow)
	k.PrepareForCreate = typed(func(h *autoscalingv2.HorizontalPodAutoscaler) {
		h.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
	})
	k.PrepareForUpdate = typedUpdate(func(h, old *autoscalingv2.HorizontalPodAutoscaler) { h.Status = *old.Status.DeepCopy() })
	k.Subresources["status"].PrepareForUpdate = typedUpdate(func(h, old *autoscalingv2.HorizontalPodAutoscaler) { h.Spec = *old.Spec.DeepCopy() })
	return k
}

func horizontalPodAutoscalersV1(stored *Kind) *Kind {
	k := horizontalPodAutoscalerKind(autoscalingv1.SchemeGroupVersion)
	k.New, k.NewList = newObject[autoscalingv1.HorizontalPodAutoscaler], newList[autoscalingv1.HorizontalPodAutoscalerList]
	k.Derive = derived[autoscaling.HorizontalPodAutoscaler, autoscalingv1.HorizontalPodAutoscaler]()
	k.Row = func(obj Object) []any {
		h := &autoscalingv2.HorizontalPodAutoscaler{}
		toExternal(internal[autoscaling.HorizontalPodAutoscaler](obj), h)
		return horizontalPodAutoscalerRow(h)
	}
	// Annotations carry what version 1 has no fields for: the round trip sorts them into spec and status.
	k.PrepareForCreate = typed(func(h *autoscalingv1.HorizontalPodAutoscaler) {
		through(h, nil, func(h, _ *autoscaling.HorizontalPodAutoscaler) {
			h.Status = autoscaling.HorizontalPodAutoscalerStatus{}
		})
	})
	k.PrepareForUpdate = typedUpdate(func(h, old *autoscalingv1.HorizontalPodAutoscaler) {
		through(h, old, func(h, old *autoscaling.HorizontalPodAutoscaler) { h.Status = *old.Status.DeepCopy() })
	})
	k.Subresources["status"].PrepareForUpdate = typedUpdate(func(h, old *autoscalingv1.HorizontalPodAutoscaler) {
		through(h, old, func(h, old *autoscaling.HorizontalPodAutoscaler) { h.Spec = *old.Spec.DeepCopy() })
	})
	return viewOf[autoscaling.HorizontalPodAutoscaler](k, stored)
}

// horizontalPodAutoscalerKind is what both versions have in common.
func horizontalPodAutoscalerKind(gv schema.GroupVersion) *Kind {
	return &Kind{
		GroupVersionKind:    gv.WithKind("HorizontalPodAutoscaler"),
		Plural:              "horizontalpodautoscalers",
		Singular:            "horizontalpodautoscaler",
		ShortNames:          []string{"hpa"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		Inert:               "nothing scales what it names",

		Validate: validate(func(h *autoscaling.HorizontalPodAutoscaler) field.ErrorList {
			return validation.ValidateHorizontalPodAutoscaler(h, autoscalerOptions(h, nil))
		}),
		ValidateUpdate: validateUpdate(func(h, old *autoscaling.HorizontalPodAutoscaler) field.ErrorList {
			return validation.ValidateHorizontalPodAutoscalerUpdate(h, old, autoscalerOptions(h, old))
		}),
		Resets: resets(statusField),

		Columns: horizontalPodAutoscalerColumns(),
		Subresources: map[string]*Subresource{"status": {
			ValidateUpdate: validateUpdate(validation.ValidateHorizontalPodAutoscalerStatusUpdate),
			Resets:         resets(specField),
		}},
	}
}

// autoscalerOptions say which rules apply; old may be nil. What old already breaks stays allowed.
func autoscalerOptions(h, old *autoscaling.HorizontalPodAutoscaler) validation.HorizontalPodAutoscalerSpecValidationOptions {
	o := validation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1}
	o.ObjectMetricsValidationOptions.AllowEmptyAPIGroup = true
	target := h.Spec.ScaleTargetRef
	if old == nil {
		o.ScaleTargetRefValidationOptions.AllowEmptyAPIGroup = target.Kind == "ReplicationController"
		return o
	}
	if old.Spec.MinReplicas != nil && *old.Spec.MinReplicas == 0 {
		o.MinReplicasLowerBound = 0
	}
	if was := old.Spec.ScaleTargetRef; was.APIVersion == target.APIVersion && was.Kind == target.Kind {
		o.ScaleTargetRefValidationOptions.AllowInvalidAPIVersion = true
	} else {
		o.ScaleTargetRefValidationOptions.AllowEmptyAPIGroup = target.Kind == "ReplicationController"
	}
	for _, m := range old.Spec.Metrics {
		if m.Type == autoscaling.ObjectMetricSourceType && m.Object != nil &&
			validation.ValidateAPIVersion(m.Object.DescribedObject, o.ObjectMetricsValidationOptions) != nil {
			o.ObjectMetricsValidationOptions.AllowInvalidAPIVersion = true
			break
		}
	}
	return o
}

func horizontalPodAutoscalerColumns() []metav1.TableColumnDefinition {
	spec, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Reference", "string", spec["scaleTargetRef"]),
		column("Targets", "string", spec["metrics"]),
		column("MinPods", "string", spec["minReplicas"]),
		column("MaxPods", "string", spec["maxReplicas"]),
		column("Replicas", "string", status["currentReplicas"]),
		ageColumn,
	}
}

func horizontalPodAutoscalerRow(h *autoscalingv2.HorizontalPodAutoscaler) []any {
	least := "<unset>"
	if n := h.Spec.MinReplicas; n != nil {
		least = strconv.Itoa(int(*n))
	}
	return []any{
		h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name,
		metricsCell(h.Spec.Metrics, h.Status.CurrentMetrics), least, int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), age(h),
	}
}

// metricsCell shows two metrics, each as current/target.
func metricsCell(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	const most = 2
	if len(specs) == 0 {
		return "<none>"
	}
	var all []string
	for i, spec := range specs[:min(most, len(specs))] {
		var status autoscalingv2.MetricStatus
		if i < len(statuses) {
			status = statuses[i]
		}
		all = append(all, metricCell(spec, status))
	}
	cell := strings.Join(all, ", ")
	if more := len(specs) - most; more > 0 {
		cell += fmt.Sprintf(" + %d more...", more)
	}
	return cell
}

func metricCell(spec autoscalingv2.MetricSpec, status autoscalingv2.MetricStatus) string {
	switch spec.Type {
	case autoscalingv2.ExternalMetricSourceType:
		var current *autoscalingv2.MetricValueStatus
		if status.External != nil {
			current = &status.External.Current
		}
		return valueOrAverage(spec.External.Target, current)
	case autoscalingv2.ObjectMetricSourceType:
		var current *autoscalingv2.MetricValueStatus
		if status.Object != nil {
			current = &status.Object.Current
		}
		return valueOrAverage(spec.Object.Target, current)
	case autoscalingv2.PodsMetricSourceType:
		current := "<unknown>"
		if status.Pods != nil {
			current = quantityText(status.Pods.Current.AverageValue)
		}
		return current + "/" + quantityText(spec.Pods.Target.AverageValue)
	case autoscalingv2.ResourceMetricSourceType:
		var current *autoscalingv2.MetricValueStatus
		if status.Resource != nil {
			current = &status.Resource.Current
		}
		return spec.Resource.Name.String() + ": " + utilizationOrAverage(spec.Resource.Target, current)
	case autoscalingv2.ContainerResourceMetricSourceType:
		var current *autoscalingv2.MetricValueStatus
		if status.ContainerResource != nil {
			current = &status.ContainerResource.Current
		}
		return spec.ContainerResource.Name.String() + ": " + utilizationOrAverage(spec.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

func valueOrAverage(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	now := "<unknown>"
	if target.AverageValue != nil {
		if current != nil && current.AverageValue != nil {
			now = current.AverageValue.String()
		}
		return now + "/" + target.AverageValue.String() + " (avg)"
	}
	if current != nil {
		now = quantityText(current.Value)
	}
	return now + "/" + quantityText(target.Value)
}

func utilizationOrAverage(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	now, want := "<unknown>", "<auto>"
	if target.AverageValue != nil {
		if current != nil {
			now = quantityText(current.AverageValue)
		}
		return now + "/" + target.AverageValue.String()
	}
	if current != nil && current.AverageUtilization != nil {
		now = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if u := target.AverageUtilization; u != nil {
		want = fmt.Sprintf("%d%%", *u)
	}
	return now + "/" + want
}

func quantityText(q *quantity.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}
