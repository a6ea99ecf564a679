package resource

import (
	"cmp"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/discovery/validation"
)

func endpointSlices() *Kind {
	return &Kind{
		GroupVersionKind:    discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Plural:              "endpointslices",
		Singular:            "endpointslice",
		Namespaced:          true,
		New:                 newObject[discoveryv1.EndpointSlice],
		NewList:             newList[discoveryv1.EndpointSliceList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(s *discoveryv1.EndpointSlice) {
			s.Generation = 1
			dropTopology(s)
		}),
		PrepareForUpdate: typedUpdate(prepareEndpointSliceUpdate),
		Validate:         validate(validation.ValidateEndpointSliceCreate),
		ValidateUpdate:   validateUpdate(validation.ValidateEndpointSliceUpdate),
		Warnings:         typedWarnings(endpointSliceWarnings),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("AddressType", "string", discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"]),
			column("Ports", "string", discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"]),
			column("Endpoints", "string", discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"]),
			ageColumn,
		},
		Row: row(func(s *discoveryv1.EndpointSlice) []any {
			return []any{s.Name, string(s.AddressType), slicePorts(s.Ports), sliceAddresses(s.Endpoints), age(s)}
		}),
	}
}

func prepareEndpointSliceUpdate(s, old *discoveryv1.EndpointSlice) {
	if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) ||
		!equality.Semantic.DeepEqual(s.Ports, old.Ports) ||
		s.AddressType != old.AddressType ||
		!equality.Semantic.DeepEqual(s.Labels, old.Labels) {
		s.Generation = old.Generation + 1
	}
	if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		dropTopology(s)
	}
}

// dropTopology clears a field that v1 only keeps for what v1beta1 has written.
func dropTopology(s *discoveryv1.EndpointSlice) {
	for i := range s.Endpoints {
		s.Endpoints[i].DeprecatedTopology = nil
	}
}

func slicePorts(ports []discoveryv1.EndpointPort) string {
	var all []string
	for _, p := range ports {
		switch {
		case p.Port != nil:
			all = append(all, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			all = append(all, *p.Name)
		default:
			all = append(all, "*")
		}
	}
	return cmp.Or(firstFew(all), "<unset>")
}

func sliceAddresses(endpoints []discoveryv1.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.Addresses...)
	}
	return cmp.Or(firstFew(all), "<unset>")
}

func endpointSliceWarnings(s, old *discoveryv1.EndpointSlice) []string {
	var warnings []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		warnings = append(warnings, "spec.addressType: FQDN endpoints are deprecated")
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return warnings
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			path := field.NewPath("endpoints").Index(i).Child("addresses").Index(j)
			warnings = append(warnings, utilvalidation.GetWarningsForIP(path, a)...)
		}
	}
	return warnings
}
