package resource

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/apis/flowcontrol/validation"
)

func flowSchemas() *Kind {
	return &Kind{
		GroupVersionKind:    flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"),
		Plural:              "flowschemas",
		Singular:            "flowschema",
		New:                 newObject[flowcontrolv1.FlowSchema],
		NewList:             newList[flowcontrolv1.FlowSchemaList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(f *flowcontrolv1.FlowSchema) {
			f.Status = flowcontrolv1.FlowSchemaStatus{}
			f.Generation = 1
		}),
		PrepareForUpdate: typedUpdate(func(f, old *flowcontrolv1.FlowSchema) {
			f.Status = *old.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(f.Spec, old.Spec) {
				f.Generation = old.Generation + 1
			}
		}),
		Validate: validate(validation.ValidateFlowSchema),
		ValidateUpdate: validateUpdate(func(f, old *flowcontrol.FlowSchema) field.ErrorList {
			return validation.ValidateFlowSchemaUpdate(old, f)
		}),
		Resets: resets(statusField),

		Columns: flowSchemaColumns(),
		Row:     row(flowSchemaRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(f, old *flowcontrolv1.FlowSchema) {
				f.Spec = *old.Spec.DeepCopy()
				keepAllMetadata(&f.ObjectMeta, &old.ObjectMeta)
			}),
			ValidateUpdate: validateUpdate(func(f, old *flowcontrol.FlowSchema) field.ErrorList {
				return validation.ValidateFlowSchemaStatusUpdate(old, f)
			}),
			Resets: resets(specField, metadataField),
		}},
	}
}

func flowSchemaColumns() []metav1.TableColumnDefinition {
	spec := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("PriorityLevel", "string", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"]),
		column("MatchingPrecedence", "string", spec["matchingPrecedence"]),
		column("DistinguisherMethod", "string", spec["distinguisherMethod"]),
		ageColumn,
		column("MissingPL", "string", "references a broken or non-existent PriorityLevelConfiguration"),
	}
}

func flowSchemaRow(f *flowcontrolv1.FlowSchema) []any {
	method, dangling := "<none>", "?"
	if m := f.Spec.DistinguisherMethod; m != nil {
		method = string(m.Type)
	}
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			dangling = string(c.Status)
			break
		}
	}
	return []any{f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method, age(f), dangling}
}
