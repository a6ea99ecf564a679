package resource

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func limitRanges() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("LimitRange"),
		Plural:              "limitranges",
		Singular:            "limitrange",
		ShortNames:          []string{"limits"},
		Namespaced:          true,
		New:                 newObject[corev1.LimitRange],
		NewList:             newList[corev1.LimitRangeList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(l *corev1.LimitRange) {
			if l.Name == "" {
				l.Name = string(uuid.NewUUID())
			}
		}),
		Validate:       validate(validation.ValidateLimitRange),
		ValidateUpdate: validateUpdate(func(l, _ *core.LimitRange) field.ErrorList { return validation.ValidateLimitRange(l) }),
	}
}
