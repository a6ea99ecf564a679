//lint:file-ignore SA1019 Endpoints are served as long as clients write them.

package resource

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func endpoints() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("Endpoints"),
		Plural:              "endpoints",
		Singular:            "endpoints",
		ShortNames:          []string{"ep"},
		Namespaced:          true,
		New:                 newObject[corev1.Endpoints],
		NewList:             newList[corev1.EndpointsList],
		Deprecated:          "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		Validate:       validate(validation.ValidateEndpointsCreate),
		ValidateUpdate: validateUpdate(validation.ValidateEndpointsUpdate),
		Warnings:       typedWarnings(func(e, _ *corev1.Endpoints) []string { return endpointsWarnings(e) }),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Endpoints", "string", corev1.Endpoints{}.SwaggerDoc()["subsets"]),
			ageColumn,
		},
		Row: row(func(e *corev1.Endpoints) []any {
			return []any{e.Name, endpointsCell(e.Subsets), age(e)}
		}),
	}
}

// shownEndpoints is how many addresses or ports a cell lists.
const shownEndpoints = 3

func endpointsCell(subsets []corev1.EndpointSubset) string {
	if len(subsets) == 0 {
		return "<none>"
	}
	var all []string
	for _, s := range subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	return firstFew(all)
}

// firstFew joins what fits into a cell and counts the rest.
func firstFew(all []string) string {
	if more := len(all) - shownEndpoints; more > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shownEndpoints], ","), more)
	}
	return strings.Join(all, ",")
}

// endpointsWarnings speaks of addresses written in doubtful ways, not to the controller that copies them.
func endpointsWarnings(e *corev1.Endpoints) []string {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	var warnings []string
	for i, s := range e.Subsets {
		path := field.NewPath("subsets").Index(i)
		for j, a := range s.Addresses {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(path.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range s.NotReadyAddresses {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(path.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return warnings
}
