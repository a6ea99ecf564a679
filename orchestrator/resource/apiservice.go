package resource

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func apiServices() *Kind {
	return &Kind{
		GroupVersionKind:    apiregistrationv1.SchemeGroupVersion.WithKind("APIService"),
		Plural:              "apiservices",
		Singular:            "apiservice",
		Categories:          []string{"api-extensions"},
		New:                 newObject[apiregistrationv1.APIService],
		NewList:             newList[apiregistrationv1.APIServiceList],
		UnconditionalUpdate: false,

		PrepareForCreate: typed(func(s *apiregistrationv1.APIService) {
			s.Status = apiregistrationv1.APIServiceStatus{}
			if s.Spec.Service == nil {
				SetAPIServiceCondition(s, apiregistrationv1.ConditionTrue, "Local", "Local APIServices are always available")
			}
		}),
		PrepareForUpdate: typedUpdate(func(s, old *apiregistrationv1.APIService) { s.Status = *old.Status.DeepCopy() }),
		Validate:         validate(validateAPIService),
		ValidateUpdate:   validateBoth(validateAPIService, func(_, _ *apiregistration.APIService) field.ErrorList { return nil }),
		Resets:           resets(statusField),

		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			column("Service", "string", "The reference to the service that hosts this API endpoint."),
			column("Available", "string", "Whether this service is available."),
			ageColumn,
		},
		Row: row(func(s *apiregistrationv1.APIService) []any {
			return []any{s.Name, apiServiceHost(s), apiServiceAvailable(s), age(s)}
		}),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(func(s, old *apiregistrationv1.APIService) {
					s.Spec = *old.Spec.DeepCopy()
					s.Labels, s.Annotations, s.Finalizers, s.OwnerReferences = old.Labels, old.Annotations, old.Finalizers, old.OwnerReferences
				}),
				ValidateUpdate: validateUpdate(func(s, _ *apiregistration.APIService) field.ErrorList { return validateAPIServiceStatus(s) }),
				Resets:         resets(specField, metadataField),
			},
		},
	}
}

func apiServiceHost(s *apiregistrationv1.APIService) string {
	if s.Spec.Service == nil {
		return "Local"
	}
	return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
}

func apiServiceAvailable(s *apiregistrationv1.APIService) string {
	c := AvailableCondition(s)
	if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
		return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
	}
	return string(c.Status)
}

// AvailableCondition is the condition Available; Unknown if nobody has set it.
func AvailableCondition(s *apiregistrationv1.APIService) apiregistrationv1.APIServiceCondition {
	for _, c := range s.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			return c
		}
	}
	return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionUnknown}
}

// SetAPIServiceCondition sets the condition Available. Its time changes with its status.
func SetAPIServiceCondition(s *apiregistrationv1.APIService, status apiregistrationv1.ConditionStatus, reason, message string) {
	for i := range s.Status.Conditions {
		if c := &s.Status.Conditions[i]; c.Type == apiregistrationv1.Available {
			if c.Status != status {
				c.Status, c.LastTransitionTime = status, metav1.Now().Rfc3339Copy()
			}
			c.Reason, c.Message = reason, message
			return
		}
	}
	s.Status.Conditions = append(s.Status.Conditions, apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: status, LastTransitionTime: metav1.Now().Rfc3339Copy(), Reason: reason, Message: message,
	})
}

// APIServiceName is how the APIService of a group and version is called.
func APIServiceName(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }
