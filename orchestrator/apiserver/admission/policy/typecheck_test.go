package policy_test

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/admission/policy"
	"wherry/orchestrator/resource"
)

func TestTypesAreChecked(t *testing.T) {
	const named = "matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: ['*'], resources: [deployments, replicasets]}]}\n"
	for _, test := range []struct {
		spec string
		want map[string]string
	}{
		{named + "validations: [{expression: \"object.spec.replicas > 1 && object.spec.template.spec.containers.all(c, c.image != '')\", messageExpression: \"'for ' + object.metadata.name\"}]", nil},
		{named + "validations: [{expression: object.spec.replicas == 'x'}, {expression: 'true', messageExpression: object.metadata.nam}]", map[string]string{
			"spec.validations[0].expression": "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, string)'\n | object.spec.replicas == 'x'\n | .....................^\n" + "\n" +
				"apps/v1, Kind=ReplicaSet: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, string)'\n | object.spec.replicas == 'x'\n | .....................^\n",
			"spec.validations[1].messageExpression": "apps/v1, Kind=Deployment: ERROR: <input>:1:16: undefined field 'nam'\n | object.metadata.nam\n | ...............^\n" + "\n" +
				"apps/v1, Kind=ReplicaSet: ERROR: <input>:1:16: undefined field 'nam'\n | object.metadata.nam\n | ...............^\n",
		}},
		{"matchConstraints: {resourceRules: [{apiGroups: ['*'], apiVersions: [v1], operations: ['*'], resources: [deployments]}]}\nvalidations: [{expression: object.none == 1}]", nil},
		{"matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [pods]}]}\nparamKind: {apiVersion: v1, kind: ConfigMap}\nvariables: [{name: node, expression: object.spec.nodeName}]\nvalidations: [{expression: variables.node == params.data.of}, {expression: variables.node == params.dada}]", map[string]string{
			"spec.validations[1].expression": "/v1, Kind=Pod: ERROR: <input>:1:25: undefined field 'dada'\n | variables.node == params.dada\n | ........................^\n",
		}},
	} {
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		if err := yaml.UnmarshalStrict([]byte(test.spec), &p.Spec); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, w := range policy.TypeCheck(resource.New(), p) {
			got[w.FieldRef] = w.Warning
		}
		if len(got) != len(test.want) {
			t.Errorf("%s\n%q", test.spec, got)
		}
		for at, want := range test.want {
			if got[at] != want {
				t.Errorf("%s:\ngot  %q\nwant %q", at, got[at], want)
			}
		}
	}
}
