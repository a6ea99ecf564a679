package policy_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

var builtin = sync.OnceValue(func() managedfields.TypeConverter { return openapi.TypeConverter(resource.New().Scheme()) })

func types(*resource.Kind, runtime.Object) (managedfields.TypeConverter, error) {
	return builtin(), nil
}

// mutate makes a policy called name for what a rule names, with more of its spec, and a binding with more of its own.
func (c *cluster) mutate(name, rule, spec, binding string) {
	c.Helper()
	p, b := &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
	for text, into := range map[string]state.Object{
		"metadata: {name: " + name + "}\nspec:\n  matchConstraints: {resourceRules: [{apiVersions: ['*'], operations: [CREATE, UPDATE], " + rule + "}]}\n" + spec: p,
		"metadata: {name: " + name + "}\nspec:\n  policyName: " + name + "\n" + binding:                                                                           b,
	} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			c.Fatal(err)
		}
	}
	if p.Spec.ReinvocationPolicy == "" {
		p.Spec.ReinvocationPolicy = admissionregistrationv1.NeverReinvocationPolicy
	}
	for _, obj := range []state.Object{p, b} {
		k, _ := c.Kinds().For(obj)
		if _, err := c.Create(c.Context(), k, obj, state.CreateOptions{}); err != nil {
			c.Fatal(err)
		}
	}
}

const (
	maps        = "apiGroups: [''], resources: [configmaps]"
	deployments = "apiGroups: [apps], resources: [deployments]"
)

func jsonPatch(text string) string { return mutation("jsonPatch", "JSONPatch", text) }
func applied(text string) string   { return mutation("applyConfiguration", "ApplyConfiguration", text) }

func mutation(field, patchType, text string) string {
	b, _ := json.Marshal([]any{map[string]any{"patchType": patchType, field: map[string]string{"expression": text}}})
	return "  mutations: " + string(b) + "\n"
}

// written is the ConfigMap x with the data {a: 1} after it was created.
func (c *cluster) written(user string) (*corev1.ConfigMap, error) {
	err := c.write(user, "x", map[string]string{"a": "1"})
	m, _ := state.Get[*corev1.ConfigMap](c.State, "default", "x")
	return m, err
}

func TestMutations(t *testing.T) {
	const by = "policy 'p' with binding 'p' denied request: "
	for name, test := range map[string]struct{ spec, binding, data, says string }{
		"patch":       {spec: jsonPatch(`[JSONPatch{op: "add", path: "/data/b", value: object.data.a + "!"}, JSONPatch{op: "copy", from: "/data/b", path: "/data/c"}]`), data: `{"a":"1","b":"1!","c":"1!"}`},
		"escaped":     {spec: jsonPatch(`[JSONPatch{op: "add", path: "/data/" + jsonpatch.escapeKey("k.~"), value: "v\"\u00e9"}]`), data: `{"a":"1","k.~":"v\"é"}`, says: "Invalid value"},
		"whole":       {spec: jsonPatch(`[JSONPatch{op: "replace", path: "/data", value: {"z": "26"}}]`), data: `{"z":"26"}`},
		"test fails":  {spec: jsonPatch(`[JSONPatch{op: "test", path: "/data/a", value: "2"}, JSONPatch{op: "remove", path: "/data/a"}]`), data: `{"a":"1"}`},
		"unknown":     {spec: jsonPatch(`[JSONPatch{op: "add", path: "/dada", value: "x"}]`), says: `strict decoding error: unknown field "dada"`},
		"no such":     {spec: jsonPatch(`[JSONPatch{op: "remove", path: "/data/none"}]`), says: by + "JSON Patch: "},
		"applied":     {spec: applied(`Object{data: {"b": "2"}}`), data: `{"a":"1","b":"2"}`},
		"undeclared":  {spec: applied(`Object{spec: Object.spec{x: 1}}`), says: by + "error applying patch: failed to convert patch object to typed object: .spec: field not declared in schema"},
		"wrong name":  {spec: applied(`Object{metadata: Object.spec{}}`), says: by + "type mismatch: "},
		"variables":   {spec: "  variables: [{name: v, expression: \"object.data.a + '?'\"}]\n" + applied(`Object{data: {"b": variables.v}}`), data: `{"a":"1","b":"1?"}`},
		"condition":   {spec: "  matchConditions: [{name: n, expression: \"object.metadata.name == 'y'\"}]\n" + applied(`Object{data: {"b": "2"}}`), data: `{"a":"1"}`},
		"error":       {spec: applied(`Object{data: {"b": object.data.none}}`), says: by + "expression 'Object{data: {\"b\": object.data.none}}' resulted in error: no such key: none"},
		"ignored":     {spec: "  failurePolicy: Ignore\n" + applied(`Object{data: {"b": object.data.none}}`), data: `{"a":"1"}`},
		"no params":   {spec: "  paramKind: {apiVersion: v1, kind: Secret}\n" + applied(`Object{data: {"b": params.metadata.name}}`), binding: "  paramRef: {name: n, parameterNotFoundAction: Deny}\n", says: by + "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"},
		"let through": {spec: "  paramKind: {apiVersion: v1, kind: Secret}\n" + applied(`Object{data: {"b": params.metadata.name}}`), binding: "  paramRef: {name: n, parameterNotFoundAction: Allow}\n", data: `{"a":"1"}`},
		"params":      {spec: "  paramKind: {apiVersion: v1, kind: Namespace}\n" + applied(`Object{data: {"b": params.metadata.labels.team}}`), binding: "  paramRef: {name: default, parameterNotFoundAction: Deny}\n", data: `{"a":"1","b":"a"}`},
		"elsewhere":   {spec: applied(`Object{data: {"b": "2"}}`), binding: "  matchResources: {namespaceSelector: {matchLabels: {team: b}}}\n", data: `{"a":"1"}`},
		"authorizer":  {spec: jsonPatch(`authorizer.group('').resource('secrets').check('get').allowed() ? [] : [JSONPatch{op: "add", path: "/data/guest", value: "yes"}]`), data: `{"a":"1","guest":"yes"}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.mutate("p", maps, test.spec, test.binding)
			m, err := c.written("me")
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got  %v\nwant %s", err, test.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(m.Data); string(got) != test.data {
				t.Errorf("%s, want %s", got, test.data)
			}
		})
	}
}

func TestAppliedConfigurationsMergeByKeys(t *testing.T) {
	c := start(t)
	c.mutate("p", deployments, applied(`Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
		containers: [Object.spec.template.spec.containers{name: "side", image: "s"}, Object.spec.template.spec.containers{name: "main", image: object.spec.template.spec.containers[0].image + ":1"}]}}}}`), "")
	d := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict([]byte(`
metadata: {name: d, namespace: default}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: main, image: i, args: [x]}]}
`), d); err != nil {
		t.Fatal(err)
	}
	made, err := state.Create(t.Context(), c.State, d)
	if err != nil {
		t.Fatal(err)
	}
	all := made.Spec.Template.Spec.Containers
	if len(all) != 2 || all[0].Name != "side" || all[1].Name != "main" || all[1].Image != "i:1" || len(all[1].Args) != 1 {
		t.Errorf("%+v", all)
	}
	if all[0].TerminationMessagePath == "" {
		t.Error("what was added has no defaults")
	}

	c.mutate("q", deployments, applied(`Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"x": "y"}}}}`), "")
	_, err = state.Create(t.Context(), c.State, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e"}, Spec: d.Spec})
	if err == nil || !strings.Contains(err.Error(), "policy 'q' with binding 'q' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector") {
		t.Errorf("%v", err)
	}
	if s := err.(apierrors.APIStatus).Status(); s.Reason != metav1.StatusReasonInvalid || len(s.Details.Causes) != 1 {
		t.Errorf("%+v", s)
	}
}

// A policy sees what others before it did; what asks for it sees what others after it did, once.
func TestMutatingPoliciesAreReinvoked(t *testing.T) {
	count := func(name string) string {
		return jsonPatch(`[JSONPatch{op: "add", path: "/data/` + name + `", value: (has(object.data.` + name + `) ? object.data.` + name + ` : "") + "x"}]`)
	}
	for reinvocation, want := range map[string]string{"Never": `{"a":"1","p":"x","q":"x"}`, "IfNeeded": `{"a":"1","p":"xx","q":"xx"}`} {
		c := start(t)
		c.mutate("q", maps, "  reinvocationPolicy: "+reinvocation+"\n"+count("q"), "")
		c.mutate("p", maps, "  reinvocationPolicy: "+reinvocation+"\n"+count("p"), "")
		m, err := c.written("me")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(m.Data); string(got) != want {
			t.Errorf("%s: %s, want %s", reinvocation, got, want)
		}
	}
}

// Policies change what is written before it is judged, whoever writes, through scale, too; not what is deleted.
func TestMutatingPoliciesAndOtherDoors(t *testing.T) {
	c := start(t)
	c.mutate("p", "apiGroups: [apps], resources: [deployments/scale]", applied(`Object{spec: Object.spec{replicas: 3}}`), "")
	c.mutate("m", maps, applied(`Object{metadata: Object.metadata{labels: {"by": request.userInfo.username}}}`), "")
	d := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict([]byte(`
metadata: {name: d, namespace: default}
spec: {replicas: 1, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: main, image: i}]}}}
`), d); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Create(t.Context(), c.State, d); err != nil {
		t.Fatal(err)
	}
	k, _ := c.Kinds().For(d)
	changed, _, err := c.Update(t.Context(), k, "default", "d", func(live state.Object) (state.Object, error) {
		next := live.DeepCopyObject().(*appsv1.Deployment)
		*next.Spec.Replicas = 9
		return next, nil
	}, state.UpdateOptions{Subresource: "scale", User: &authenticationv1.UserInfo{Username: "me"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := *changed.(*appsv1.Deployment).Spec.Replicas; n != 3 {
		t.Errorf("%d replicas", n)
	}
	m, err := c.written("me")
	if err != nil || m.Labels["by"] != "me" {
		t.Fatalf("%v %v", m, err)
	}
	if err := state.Delete[*corev1.ConfigMap](t.Context(), c.State, "default", "x", state.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
