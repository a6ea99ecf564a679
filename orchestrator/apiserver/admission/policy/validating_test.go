package policy_test

import (
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/admission/policy"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// cluster is a state that policies judge.
type cluster struct {
	*testing.T
	*state.State
	told []string
}

// boss lets the user boss do everything, nobody else anything.
type boss struct{}

func (boss) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if a.User.Name == "boss" {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, "", nil
}

func (boss) Rules(context.Context, *auth.User, string) (auth.Rules, error) { return auth.Rules{}, nil }

func start(t *testing.T) *cluster {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New(), Admission: admission.Default(policy.Compiles{}, policy.NewMutating(boss{}, types), policy.NewValidating(boss{}))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	c := &cluster{T: t, State: s}
	if _, err := state.Create(t.Context(), s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "a"}}}); err != nil {
		t.Fatal(err)
	}
	return c
}

// enforce makes a policy for ConfigMaps and a binding, each with more of its spec.
func (c *cluster) enforce(spec, binding string) {
	c.Helper()
	p, b := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	for text, into := range map[string]state.Object{
		"metadata: {name: p}\nspec:\n  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [configmaps]}]}\n" + spec: p,
		"metadata: {name: b}\nspec:\n  policyName: p\n" + binding: b,
	} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			c.Fatal(err)
		}
	}
	if _, err := state.Create(c.Context(), c.State, p); err != nil {
		c.Fatal(err)
	}
	if _, err := state.Create(c.Context(), c.State, b); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) write(user, name string, data map[string]string) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: data}
	k, _ := c.Kinds().For(m)
	_, err := c.Create(c.Context(), k, m, state.CreateOptions{User: &authenticationv1.UserInfo{Username: user}, Remarks: &state.Remarks{
		OnWarning: func(s string) { c.told = append(c.told, "warning "+s) },
		OnAudit:   func(key, value string) { c.told = append(c.told, "audit "+key+"="+value) }}})
	return err
}

const deny = "  validationActions: [Deny]\n"

func TestPolicies(t *testing.T) {
	const by = `configmaps "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: `
	for name, test := range map[string]struct{ spec, binding, says string }{
		"holds":        {"  validations: [{expression: \"object.data.a == '1'\"}]\n", deny, ""},
		"fails":        {"  validations: [{expression: \"object.data.a == '2'\"}]\n", deny, by + `failed expression: object.data.a == '2'`},
		"message":      {"  validations: [{expression: 'false', message: told}]\n", deny, by + "told"},
		"made message": {"  validations: [{expression: 'false', message: told, messageExpression: \"'for ' + object.metadata.name\"}]\n", deny, by + "for x"},
		"variables": {"  variables: [{name: v, expression: \"object.data.a + '!'\"}, {name: w, expression: \"variables.v + '?'\"}]\n  validations: [{expression: \"variables.w == '1!?'\"}, {expression: 'false', messageExpression: variables.w}]\n",
			deny, by + "1!?"},
		"namespace":  {"  validations: [{expression: \"namespaceObject.metadata.labels.team == 'a'\"}]\n", deny, ""},
		"conditions": {"  matchConditions: [{name: n, expression: \"object.metadata.name == 'y'\"}]\n  validations: [{expression: 'false'}]\n", deny, ""},
		"error":      {"  validations: [{expression: object.data.none == 'x'}]\n", deny, by + `expression 'object.data.none == 'x'' resulted in error: no such key: none`},
		"forgiven":   {"  failurePolicy: Ignore\n  validations: [{expression: object.data.none == 'x'}]\n", deny, ""},
		"authorizer": {"  validations: [{expression: \"authorizer.group('').resource('secrets').check('get').allowed()\", message: may not}]\n", deny, by + "may not"},
		"elsewhere":  {"  validations: [{expression: 'false'}]\n", deny + "  matchResources: {namespaceSelector: {matchLabels: {team: b}}}\n", ""},
		"costly": {"  validations: [{expression: \"[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, [1,2,3,4,5,6,7,8,9,10].all(g, a+b+c+d+e+f+g > 0)))))))\"}]\n",
			deny, "exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			c.enforce(test.spec, test.binding)
			err := c.write("me", "x", map[string]string{"a": "1"})
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got  %v\nwant %s", err, test.says)
			}
			if err != nil && err.(apierrors.APIStatus).Status().Code != 422 {
				t.Errorf("%+v", err.(apierrors.APIStatus).Status())
			}
			if name == "authorizer" {
				if err := c.write("boss", "y", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestReasonsAndActions(t *testing.T) {
	c := start(t)
	c.enforce("  validations: [{expression: 'false', message: never, reason: Forbidden}]\n  auditAnnotations: [{key: who, valueExpression: \"'by ' + request.userInfo.username\"}, {key: none, valueExpression: 'null'}]\n", "  validationActions: [Warn, Audit]\n")
	if err := c.write("me", "x", nil); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"warning Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never",
		`audit validation.policy.admission.k8s.io/validation_failure=[{"binding":"b","expressionIndex":0,"message":"never","policy":"p","validationActions":["Warn","Audit"]}]`,
		"audit p/who=by me",
	}
	if strings.Join(c.told, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(c.told, "\n"))
	}
	if _, err := state.Update(t.Context(), c.State, "", "b", func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) error {
		b.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{"Deny"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.write("me", "y", nil); !apierrors.IsForbidden(err) || err.(apierrors.APIStatus).Status().Code != 403 {
		t.Errorf("%v", err)
	}
	// a policy that changes is compiled anew
	if _, err := state.Update(t.Context(), c.State, "", "p", func(p *admissionregistrationv1.ValidatingAdmissionPolicy) error {
		p.Spec.Validations[0].Expression = "true"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.write("me", "y", nil); err != nil {
		t.Error(err)
	}
}

func TestParameters(t *testing.T) {
	const spec = "  paramKind: {apiVersion: v1, kind: Secret}\n  validations: [{expression: \"params != null && object.metadata.name.startsWith(params.metadata.labels.prefix)\", messageExpression: \"'needs ' + params.metadata.name\"}]\n"
	c := start(t)
	c.enforce(spec, deny+"  paramRef: {selector: {matchLabels: {role: prefix}}, parameterNotFoundAction: Deny}\n")
	if err := c.write("me", "x", nil); err == nil || !strings.Contains(err.Error(), "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction") {
		t.Errorf("%v", err)
	}
	for name, prefix := range map[string]string{"one": "a", "two": "ab"} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"role": "prefix", "prefix": prefix}}}
		if _, err := state.Create(t.Context(), c.State, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.write("me", "abc", nil); err != nil {
		t.Error(err)
	}
	if err := c.write("me", "acc", nil); err == nil || !strings.Contains(err.Error(), "needs two") {
		t.Errorf("%v", err)
	}
}

func TestPoliciesDoNotJudgeThemselves(t *testing.T) {
	c := start(t)
	c.enforce("  validations: [{expression: 'false'}]\n", deny)
	if _, err := state.Update(t.Context(), c.State, "", "p", func(p *admissionregistrationv1.ValidatingAdmissionPolicy) error {
		p.Spec.MatchConstraints.ResourceRules[0].APIGroups, p.Spec.MatchConstraints.ResourceRules[0].Resources = []string{"*"}, []string{"*"}
		p.Spec.MatchConstraints.ResourceRules[0].APIVersions = []string{"*"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := state.Delete[*admissionregistrationv1.ValidatingAdmissionPolicy](t.Context(), c.State, "", "p", state.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
