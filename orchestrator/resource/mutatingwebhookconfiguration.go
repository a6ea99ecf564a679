package resource

import (
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func mutatingWebhookConfigurations() *Kind {
	return &Kind{
		GroupVersionKind: admissionv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"),
		Plural:           "mutatingwebhookconfigurations",
		Singular:         "mutatingwebhookconfiguration",
		Categories:       []string{"api-extensions"},
		New:              newObject[admissionv1.MutatingWebhookConfiguration],
		NewList:          newList[admissionv1.MutatingWebhookConfigurationList],

		PrepareForCreate: typed(func(c *admissionv1.MutatingWebhookConfiguration) { c.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(c, old *admissionv1.MutatingWebhookConfiguration) {
			if !reflect.DeepEqual(c.Webhooks, old.Webhooks) {
				c.Generation = old.Generation + 1
			}
		}),
		Validate: named(func(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			return validateMutatingWebhooks(c.Webhooks, webhookLeniency{})
		}),
		ValidateUpdate: namedUpdate(func(c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			return validateMutatingWebhooks(c.Webhooks, leniency(validatingParts(old.Webhooks)))
		}),
		Warnings: func(obj, _ Object) []string { return staticNameWarnings(obj.GetName()) },

		Columns: webhookColumns(),
		Row: row(func(c *admissionv1.MutatingWebhookConfiguration) []any {
			return []any{c.Name, int64(len(c.Webhooks)), age(c)}
		}),
	}
}

func validateMutatingWebhooks(hooks []admissionv1.MutatingWebhook, l webhookLeniency) field.ErrorList {
	errs := validateWebhooks(validatingParts(hooks), l)
	for i, h := range hooks {
		errs = append(errs, oneOf(h.ReinvocationPolicy, reinvocationPolicies, field.NewPath("webhooks").Index(i).Child("reinvocationPolicy"))...)
	}
	return errs
}

// validatingParts are the webhooks without what only mutating ones have.
func validatingParts(hooks []admissionv1.MutatingWebhook) []admissionv1.ValidatingWebhook {
	out := make([]admissionv1.ValidatingWebhook, len(hooks))
	for i, h := range hooks {
		out[i] = admissionv1.ValidatingWebhook{
			Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
			NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects,
			TimeoutSeconds: h.TimeoutSeconds, AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
		}
	}
	return out
}
