package policy_test

import (
	"slices"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/admission/policy"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

func TestExpressionsMustCompile(t *testing.T) {
	kinds := resource.New()
	for _, test := range []struct {
		text string
		of   state.Object
		want []string
	}{
		{"spec: {validations: [{expression: '1 +', messageExpression: 'true'}, {expression: \"'x'\"}, {expression: variables.v, messageExpression: variables.gone}], auditAnnotations: [{key: k, valueExpression: '1'}], variables: [{name: v, expression: 'true'}, {name: w, expression: unknown}], matchConditions: [{name: c, expression: params.x == 1}]}",
			&admissionregistrationv1.ValidatingAdmissionPolicy{}, []string{"spec.matchConditions[0].expression", "spec.variables[1].expression", "spec.validations[0].expression", "spec.validations[0].messageExpression",
				"spec.validations[1].expression", "spec.validations[2].messageExpression", "spec.auditAnnotations[0].valueExpression"}},
		{"spec: {paramKind: {apiVersion: v1, kind: Secret}, validations: [{expression: \"params.x == object.y && authorizer.group('').resource('pods').check('get').allowed()\", messageExpression: string(params.z)}]}",
			&admissionregistrationv1.ValidatingAdmissionPolicy{}, nil},
		{"spec: {validations: [{expression: 'true', messageExpression: \"authorizer.group('')\"}]}", &admissionregistrationv1.ValidatingAdmissionPolicy{}, []string{"spec.validations[0].messageExpression"}},
		{"spec: {mutations: [{jsonPatch: {expression: '[1]'}}, {applyConfiguration: {expression: 'Object{}'}}, {applyConfiguration: {expression: '{}'}}, {jsonPatch: {expression: '[JSONPatch{op: \"test\", path: \"/\"}]'}}]}",
			&admissionregistrationv1.MutatingAdmissionPolicy{}, []string{"spec.mutations[0].jsonPatch.expression", "spec.mutations[2].applyConfiguration.expression"}},
		{"webhooks: [{matchConditions: [{name: a, expression: 'true'}]}, {matchConditions: [{name: b, expression: '1'}]}]", &admissionregistrationv1.MutatingWebhookConfiguration{}, []string{"webhooks[1].matchConditions[0].expression"}},
		{"webhooks: [{matchConditions: [{name: b, expression: \"'\"}]}]", &admissionregistrationv1.ValidatingWebhookConfiguration{}, []string{"webhooks[0].matchConditions[0].expression"}},
	} {
		if err := yaml.UnmarshalStrict([]byte(test.text), test.of); err != nil {
			t.Fatal(err)
		}
		kind, _ := kinds.For(test.of)
		err := policy.Compiles{}.Validate(t.Context(), &state.Attributes{Kind: kind, Operation: state.OpCreate, Object: test.of})
		var got []string
		if status, ok := err.(apierrors.APIStatus); ok {
			for _, cause := range status.Status().Details.Causes {
				got = append(got, cause.Field)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%v\n%q", test.text, err, got)
		}
		if err := (policy.Compiles{}).Validate(t.Context(), &state.Attributes{Kind: kind, Operation: state.OpUpdate, Object: test.of, Old: test.of}); err != nil {
			t.Errorf("what did not change is judged: %v", err)
		}
	}
}
