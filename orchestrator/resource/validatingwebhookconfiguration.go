package resource

import (
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatingWebhookConfigurations() *Kind {
	return &Kind{
		GroupVersionKind: admissionv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration"),
		Plural:           "validatingwebhookconfigurations",
		Singular:         "validatingwebhookconfiguration",
		Categories:       []string{"api-extensions"},
		New:              newObject[admissionv1.ValidatingWebhookConfiguration],
		NewList:          newList[admissionv1.ValidatingWebhookConfigurationList],

		PrepareForCreate: typed(func(c *admissionv1.ValidatingWebhookConfiguration) { c.Generation = 1 }),
		PrepareForUpdate: typedUpdate(func(c, old *admissionv1.ValidatingWebhookConfiguration) {
			if !reflect.DeepEqual(c.Webhooks, old.Webhooks) {
				c.Generation = old.Generation + 1
			}
		}),
		Validate: named(func(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(c.Webhooks, webhookLeniency{})
		}),
		ValidateUpdate: namedUpdate(func(c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(c.Webhooks, leniency(old.Webhooks))
		}),
		Warnings: func(obj, _ Object) []string { return staticNameWarnings(obj.GetName()) },

		Columns: webhookColumns(),
		Row: row(func(c *admissionv1.ValidatingWebhookConfiguration) []any {
			return []any{c.Name, int64(len(c.Webhooks)), age(c)}
		}),
	}
}

// webhookColumns are those of both kinds of configurations.
func webhookColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Webhooks", "integer", "Webhooks indicates the number of webhooks registered in this configuration"),
		ageColumn,
	}
}
