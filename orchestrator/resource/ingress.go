package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/networking/validation"
)

func ingresses() *Kind {
	return &Kind{
		GroupVersionKind:    networkingv1.SchemeGroupVersion.WithKind("Ingress"),
		Plural:              "ingresses",
		Singular:            "ingress",
		ShortNames:          []string{"ing"},
		Namespaced:          true,
		New:                 newObject[networkingv1.Ingress],
		NewList:             newList[networkingv1.IngressList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(i *networkingv1.Ingress) {
			i.Status = networkingv1.IngressStatus{}
			i.Generation = 1
		}),
		PrepareForUpdate: typedUpdate(func(i, old *networkingv1.Ingress) {
			i.Status = *old.Status.DeepCopy()
			if !equality.Semantic.DeepEqual(i.Spec, old.Spec) {
				i.Generation = old.Generation + 1
			}
		}),
		Validate:       validate(validation.ValidateIngressCreate),
		ValidateUpdate: validateUpdate(validation.ValidateIngressUpdate),
		Warnings:       typedWarnings(ingressWarnings),
		Resets:         resets(statusField),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Class", "string", "The name of the IngressClass resource that should be used for additional configuration"),
			column("Hosts", "string", "Hosts that incoming requests are matched against before the ingress rule"),
			column("Address", "string", "Address is a list containing ingress points for the load-balancer"),
			column("Ports", "string", "Ports of TLS configurations that open"),
			ageColumn,
		},
		Row: row(ingressRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(i, old *networkingv1.Ingress) { i.Spec = *old.Spec.DeepCopy() }),
			ValidateUpdate:   validateUpdate(validation.ValidateIngressStatusUpdate),
			Warnings:         typedWarnings(ingressStatusWarnings),
			Resets:           resets(specField),
		}},
	}
}

const ingressClassAnnotation = "kubernetes.io/ingress.class"

// ingressWarnings are for who creates one.
func ingressWarnings(i, old *networkingv1.Ingress) []string {
	if _, ok := i.Annotations[ingressClassAnnotation]; ok && old == nil && i.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", ingressClassAnnotation)}
	}
	return nil
}

// ingressStatusWarnings are about addresses that programs read differently.
func ingressStatusWarnings(i, _ *networkingv1.Ingress) []string {
	var warnings []string
	for n, at := range i.Status.LoadBalancer.Ingress {
		if at.IP != "" {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(n), at.IP)...)
		}
	}
	return warnings
}

func ingressRow(i *networkingv1.Ingress) []any {
	class, ports := "<none>", "80"
	if c := i.Spec.IngressClassName; c != nil {
		class = *c
	}
	if len(i.Spec.TLS) > 0 {
		ports = "80, 443"
	}
	at := map[string]bool{}
	for _, in := range i.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			at[in.IP] = true
		} else if in.Hostname != "" {
			at[in.Hostname] = true
		}
	}
	return []any{i.Name, class, ingressHosts(i.Spec.Rules), strings.Join(slices.Sorted(maps.Keys(at)), ","), ports, age(i)}
}

func ingressHosts(rules []networkingv1.IngressRule) string {
	const most = 3
	var hosts []string
	for n, r := range rules {
		if len(hosts) == most {
			return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(rules)-most)
		}
		if r.Host != "" {
			hosts = append(hosts, rules[n].Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	return strings.Join(hosts, ",")
}
