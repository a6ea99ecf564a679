package resource

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/scheduling/validation"
)

func priorityClasses() *Kind {
	return &Kind{
		GroupVersionKind:    schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"),
		Plural:              "priorityclasses",
		Singular:            "priorityclass",
		ShortNames:          []string{"pc"},
		New:                 newObject[schedulingv1.PriorityClass],
		NewList:             newList[schedulingv1.PriorityClassList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(c *schedulingv1.PriorityClass) { c.Generation = 1 }),
		Validate:         validate(validation.ValidatePriorityClass),
		ValidateUpdate:   validateUpdate(validation.ValidatePriorityClassUpdate),

		Columns: priorityClassColumns(),
		Row: row(func(c *schedulingv1.PriorityClass) []any {
			preemption := ""
			if p := c.PreemptionPolicy; p != nil {
				preemption = string(*p)
			}
			return []any{c.Name, int64(c.Value), c.GlobalDefault, age(c), preemption}
		}),
	}
}

func priorityClassColumns() []metav1.TableColumnDefinition {
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Value", "integer", doc["value"]),
		column("Global-Default", "boolean", doc["globalDefault"]),
		ageColumn,
		column("PreemptionPolicy", "string", doc["preemptionPolicy"]),
	}
}
