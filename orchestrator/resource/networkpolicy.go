package resource

import (
	"reflect"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/apis/networking/validation"
)

func networkPolicies() *Kind {
	return &Kind{
		GroupVersionKind:    networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
		Plural:              "networkpolicies",
		Singular:            "networkpolicy",
		ShortNames:          []string{"netpol"},
		Namespaced:          true,
		New:                 newObject[networkingv1.NetworkPolicy],
		NewList:             newList[networkingv1.NetworkPolicyList],
		UnconditionalUpdate: true,
		Inert:               "no traffic is refused",

		PrepareForCreate: typed(func(p *networkingv1.NetworkPolicy) { p.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(p, old *networkingv1.NetworkPolicy) {
			if !reflect.DeepEqual(p.Spec, old.Spec) {
				p.Generation = old.Generation + 1
			}
		}),
		Validate: validate(func(p *networking.NetworkPolicy) field.ErrorList {
			return validation.ValidateNetworkPolicy(p, validation.ValidationOptionsForNetworking(p, nil))
		}),
		ValidateUpdate: validateUpdate(func(p, old *networking.NetworkPolicy) field.ErrorList {
			return validation.ValidateNetworkPolicyUpdate(p, old, validation.ValidationOptionsForNetworking(p, old))
		}),
		Warnings: typedWarnings(func(p, _ *networkingv1.NetworkPolicy) []string { return networkPolicyWarnings(p) }),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Pod-Selector", "string", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]),
			ageColumn,
		},
		Row: row(func(p *networkingv1.NetworkPolicy) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), age(p)}
		}),
	}
}

// networkPolicyWarnings are about addresses that programs read differently.
func networkPolicyWarnings(p *networkingv1.NetworkPolicy) []string {
	var warnings []string
	peers := func(path *field.Path, peers []networkingv1.NetworkPolicyPeer) {
		for i, peer := range peers {
			if peer.IPBlock == nil {
				continue
			}
			block := path.Index(i).Child("ipBlock")
			warnings = append(warnings, utilvalidation.GetWarningsForCIDR(block.Child("cidr"), peer.IPBlock.CIDR)...)
			for j, except := range peer.IPBlock.Except {
				warnings = append(warnings, utilvalidation.GetWarningsForCIDR(block.Child("except").Index(j), except)...)
			}
		}
	}
	for i, rule := range p.Spec.Ingress {
		peers(field.NewPath("spec", "ingress").Index(i).Child("from"), rule.From)
	}
	for i, rule := range p.Spec.Egress {
		peers(field.NewPath("spec", "egress").Index(i).Child("to"), rule.To)
	}
	return warnings
}
