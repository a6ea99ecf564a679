package resource

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/apis/flowcontrol/validation"
)

func priorityLevelConfigurations() *Kind {
	valid := func(l *flowcontrol.PriorityLevelConfiguration) field.ErrorList {
		return validation.ValidatePriorityLevelConfiguration(l, flowcontrolv1.SchemeGroupVersion, validation.PriorityLevelValidationOptions{})
	}
	return &Kind{
		GroupVersionKind:    flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration"),
		Plural:              "prioritylevelconfigurations",
		Singular:            "prioritylevelconfiguration",
		New:                 newObject[flowcontrolv1.PriorityLevelConfiguration],
		NewList:             newList[flowcontrolv1.PriorityLevelConfigurationList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(l *flowcontrolv1.PriorityLevelConfiguration) {
			l.Status = flowcontrolv1.PriorityLevelConfigurationStatus{}
			l.Generation = 1
		}),
		PrepareForUpdate: typedUpdate(func(l, old *flowcontrolv1.PriorityLevelConfiguration) {
			l.Status = *old.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(l.Spec, old.Spec) {
				l.Generation = old.Generation + 1
			}
		}),
		Validate:       validate(valid),
		ValidateUpdate: validateUpdate(func(l, _ *flowcontrol.PriorityLevelConfiguration) field.ErrorList { return valid(l) }),
		Resets:         resets(statusField),

		Columns: priorityLevelColumns(),
		Row:     row(priorityLevelRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(l, old *flowcontrolv1.PriorityLevelConfiguration) {
				l.Spec = *old.Spec.DeepCopy()
				keepAllMetadata(&l.ObjectMeta, &old.ObjectMeta)
			}),
			ValidateUpdate: validateUpdate(func(l, old *flowcontrol.PriorityLevelConfiguration) field.ErrorList {
				return validation.ValidatePriorityLevelConfigurationStatusUpdate(old, l)
			}),
			Resets: resets(specField, metadataField),
		}},
	}
}

func priorityLevelColumns() []metav1.TableColumnDefinition {
	queuing := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Type", "string", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]),
		column("NominalConcurrencyShares", "string", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"]),
		column("Queues", "string", queuing["queues"]),
		column("HandSize", "string", queuing["handSize"]),
		column("QueueLengthLimit", "string", queuing["queueLengthLimit"]),
		ageColumn,
	}
}

func priorityLevelRow(l *flowcontrolv1.PriorityLevelConfiguration) []any {
	var shares, queues, hand, length any = "<none>", "<none>", "<none>", "<none>"
	if limited := l.Spec.Limited; limited != nil {
		shares = int64(replicas(limited.NominalConcurrencyShares))
		if q := limited.LimitResponse.Queuing; q != nil {
			queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
		}
	}
	return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, age(l)}
}
