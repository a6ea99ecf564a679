package resource

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/networking/validation"
)

func ingressClasses() *Kind {
	return &Kind{
		GroupVersionKind:    networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
		Plural:              "ingressclasses",
		Singular:            "ingressclass",
		New:                 newObject[networkingv1.IngressClass],
		NewList:             newList[networkingv1.IngressClassList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(c *networkingv1.IngressClass) { c.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(c, old *networkingv1.IngressClass) {
			if !equality.Semantic.DeepEqual(c.Spec, old.Spec) {
				c.Generation = old.Generation + 1
			}
		}),
		Validate:       validate(validation.ValidateIngressClass),
		ValidateUpdate: validateUpdate(validation.ValidateIngressClassUpdate),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Controller", "string", "Controller that is responsible for handling this class"),
			column("Parameters", "string", "A reference to a resource with additional parameters"),
			ageColumn,
		},
		Row: row(ingressClassRow),
	}
}

func ingressClassRow(c *networkingv1.IngressClass) []any {
	name, parameters := c.Name, "<none>"
	if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
		name += " (default)"
	}
	if p := c.Spec.Parameters; p != nil {
		parameters = p.Kind
		if p.APIGroup != nil {
			parameters += "." + *p.APIGroup
		}
		parameters += "/" + p.Name
	}
	return []any{name, c.Spec.Controller, parameters, age(c)}
}
