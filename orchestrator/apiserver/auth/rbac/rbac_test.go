package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

func over(s *state.State) *Authorizer { return New(func() *state.State { return s }) }

func open(t testing.TB) *state.State {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask reads "VERB RESOURCE[.GROUP][/SUB] [NAMESPACE] [NAME]", "-" for no namespace, or "VERB /path".
func ask(user *auth.User, text string) *auth.Attributes {
	words := strings.Fields(text)
	a := &auth.Attributes{User: user, Verb: words[0]}
	if strings.HasPrefix(words[1], "/") {
		a.Path = words[1]
		return a
	}
	what, sub, _ := strings.Cut(words[1], "/")
	a.Resource, a.Subresource = true, sub
	a.Plural, a.Group, _ = strings.Cut(what, ".")
	if len(words) > 2 && words[2] != "-" {
		a.Namespace = words[2]
	}
	if len(words) > 3 {
		a.Name = words[3]
	}
	return a
}

func TestAllows(t *testing.T) {
	for _, test := range []struct{ rule, yes, no string }{
		{"get core pods", "get pods", "list pods"},
		{"get core pods", "get pods x y", "get pods/log x y"},
		{"get core pods", "get pods", "get pods.apps"},
		{"get core pods/log", "get pods/log x y", "get pods x y"},
		{"* * *", "get pods/log.apps x y", "get /healthz"},
		{"get * */scale", "get deployments.apps/scale x y", "get deployments.apps x y"},
		{"get * */scale", "get anything.example.com/scale x y", "get deployments.apps/status x y"},
		{"get core configmaps a,b", "get configmaps x b", "get configmaps x c"},
		{"get core configmaps a", "get configmaps x a", "get configmaps x"},
		{"get url /healthz", "get /healthz", "get /healthz/x"},
		{"get url /healthz/*", "get /healthz/x", "get /healthz"},
		{"get url *", "get /anything", "post /anything"},
		{"* url /metrics", "post /metrics", "get metrics"},
		{"get core */*", "get */*", "get pods/log"},
	} {
		rule := parseRule(strings.Fields(test.rule))
		if !Allows(&rule, ask(nil, test.yes)) {
			t.Errorf("%q does not allow %q", test.rule, test.yes)
		}
		if Allows(&rule, ask(nil, test.no)) {
			t.Errorf("%q allows %q", test.rule, test.no)
		}
	}
}

func account(namespace, name string) *auth.User {
	return &auth.User{Name: "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, auth.GroupAuthenticated}}
}

var jane = &auth.User{Name: "jane", Groups: []string{"devs", auth.GroupAuthenticated}}

// judge is the decision and the reason.
func judge(t *testing.T, z *Authorizer, user *auth.User, text string) (bool, string) {
	t.Helper()
	decision, reason, err := z.Authorize(t.Context(), ask(user, text))
	if err != nil || decision == auth.Deny {
		t.Fatalf("%s %s: %v, %v", user.Name, text, decision, err)
	}
	return decision == auth.Allow, reason
}

func create[T state.Object](t testing.TB, s *state.State, obj T) T {
	t.Helper()
	created, err := state.Create(t.Context(), s, obj)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func role(namespace, name string, rules ...string) *rbacv1.Role {
	r := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, rule := range rules {
		r.Rules = append(r.Rules, parseRule(strings.Fields(rule)))
	}
	return r
}

func roleBinding(namespace, name, kind, role string, subjects ...string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: roleRef(kind, role), Subjects: parseSubjects(subjects)}
}

func clusterRoleBinding(name, role string, subjects ...string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: roleRef("ClusterRole", role), Subjects: parseSubjects(subjects)}
}

// TestDecisionsFollowWhatIsWritten asks right after each write.
func TestDecisionsFollowWhatIsWritten(t *testing.T) {
	s := open(t)
	z := over(s)
	want := func(allowed bool, reason string, user *auth.User, text string) {
		t.Helper()
		if got, why := judge(t, z, user, text); got != allowed || why != reason {
			t.Errorf("%s %s: %v %q; want %v %q", user.Name, text, got, why, allowed, reason)
		}
	}
	want(false, "", jane, "get pods team")

	create(t, s, role("team", "reader", "get core pods"))
	want(false, "", jane, "get pods team")
	create(t, s, roleBinding("team", "readers", "Role", "reader", "user=jane", "group=devs"))
	want(true, `RBAC: allowed by RoleBinding "readers/team" of Role "reader" to User "jane"`, jane, "get pods team")
	want(false, "", jane, "get pods other")
	want(false, "", jane, "get pods")
	want(true, `RBAC: allowed by RoleBinding "readers/team" of Role "reader" to Group "devs"`, &auth.User{Name: "joe", Groups: []string{"devs"}}, "get pods team")

	if _, err := state.Update(t.Context(), s, "team", "reader", func(r *rbacv1.Role) error {
		r.Rules[0].Verbs = []string{"list"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want(false, "", jane, "get pods team")
	want(true, `RBAC: allowed by RoleBinding "readers/team" of Role "reader" to User "jane"`, jane, "list pods team")
	if _, err := state.Update(t.Context(), s, "team", "readers", func(b *rbacv1.RoleBinding) error {
		b.Subjects = parseSubjects([]string{"account=team/bot"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want(false, "", jane, "list pods team")
	want(true, `RBAC: allowed by RoleBinding "readers/team" of Role "reader" to ServiceAccount "bot/team"`, account("team", "bot"), "list pods team")
	want(false, "", account("other", "bot"), "list pods team")

	if err := state.Delete[*rbacv1.Role](t.Context(), s, "team", "reader", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want(false, `RBAC: role.rbac.authorization.k8s.io "reader" not found`, account("team", "bot"), "list pods team")
	if err := state.Delete[*rbacv1.RoleBinding](t.Context(), s, "team", "readers", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want(false, "", account("team", "bot"), "list pods team")

	create(t, s, clusterRoleBinding("gone", "gone", "user=jane"))
	want(false, `RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found`, jane, "get nodes")
}

// TestFallingBehindTheHistory writes more than the window of a table keeps between two questions.
func TestFallingBehindTheHistory(t *testing.T) {
	s := open(t)
	z := over(s)
	if got, _ := judge(t, z, jane, "get pods team"); got {
		t.Fatal("allowed without a role")
	}
	for i := range 1500 {
		create(t, s, roleBinding("team", fmt.Sprintf("b%d", i), "Role", "reader", "user=jane"))
	}
	create(t, s, role("team", "reader", "get core pods"))
	if got, _ := judge(t, z, jane, "get pods team"); !got {
		t.Error("what was written is not seen")
	}
}

func TestDefaultRoles(t *testing.T) {
	s := open(t)
	if err := Reconcile(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	z := over(s)
	for _, test := range []struct {
		user *auth.User
		text string
		want bool
	}{
		{auth.Anonymous, "get /healthz", true},
		{auth.Anonymous, "get /version", true},
		{auth.Anonymous, "get /api", false},
		{auth.Anonymous, "create selfsubjectreviews.authentication.k8s.io", false},
		{jane, "get /api", true},
		{jane, "get /openapi/v3/apis/apps/v1", true},
		{jane, "get /metrics", false},
		{jane, "create selfsubjectaccessreviews.authorization.k8s.io", true},
		{jane, "create selfsubjectreviews.authentication.k8s.io", true},
		{jane, "create subjectaccessreviews.authorization.k8s.io", false},
		{jane, "get pods default", false},
		{&auth.User{Name: "m", Groups: []string{"system:monitoring"}}, "get /metrics", true},
		{&auth.User{Name: "system:kube-scheduler"}, "create pods/binding default", true},
		{&auth.User{Name: "system:node:a", Groups: []string{"system:nodes"}}, "get pods default", false},
		{account("kube-system", "replicaset-controller"), "delete pods default", true},
		{account("kube-system", "replicaset-controller"), "delete nodes", false},
		{account("default", "x"), "get /openid/v1/jwks", true},
		{&auth.User{Name: "root", Groups: []string{auth.GroupMasters}}, "delete nodes", true},
	} {
		if got, why := judge(t, z, test.user, test.text); got != test.want {
			t.Errorf("%s %s: %v %s", test.user.Name, test.text, got, why)
		}
	}
}

func TestReconcileAddsWhatIsMissing(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	if err := Reconcile(ctx, s); err != nil {
		t.Fatal(err)
	}
	before := s.Revision()
	if err := Reconcile(ctx, s); err != nil || s.Revision() != before {
		t.Fatalf("what is complete was written: %v", err)
	}
	edit := func(name string, change func(*rbacv1.ClusterRole)) {
		if _, err := state.Update(ctx, s, "", name, func(r *rbacv1.ClusterRole) error { change(r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	edit("system:discovery", func(r *rbacv1.ClusterRole) {
		r.Rules = []rbacv1.PolicyRule{parseRule(strings.Fields("get core pods"))}
		delete(r.Labels, "kubernetes.io/bootstrapping")
	})
	edit("system:basic-user", func(r *rbacv1.ClusterRole) {
		r.Rules = nil
		r.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
	})
	edit("admin", func(r *rbacv1.ClusterRole) { r.AggregationRule = nil })
	bind := func(name string, change func(*rbacv1.ClusterRoleBinding)) {
		if _, err := state.Update(ctx, s, "", name, func(b *rbacv1.ClusterRoleBinding) error { change(b); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	bind("system:basic-user", func(b *rbacv1.ClusterRoleBinding) { b.Subjects = parseSubjects([]string{"user=x"}) })
	if err := state.Delete[*rbacv1.ClusterRoleBinding](ctx, s, "", "system:discovery", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, s, clusterRoleBinding("system:discovery", "view", "user=x"))
	if err := Reconcile(ctx, s); err != nil {
		t.Fatal(err)
	}
	discovery, _ := state.Get[*rbacv1.ClusterRole](s, "", "system:discovery")
	if len(discovery.Rules) < 2 || discovery.Rules[0].Resources[0] != "pods" || discovery.Labels["kubernetes.io/bootstrapping"] == "" {
		t.Errorf("added and kept: %+v", discovery)
	}
	if basic, _ := state.Get[*rbacv1.ClusterRole](s, "", "system:basic-user"); len(basic.Rules) != 0 {
		t.Errorf("a protected role was changed: %+v", basic)
	}
	if admin, _ := state.Get[*rbacv1.ClusterRole](s, "", "admin"); admin.AggregationRule == nil {
		t.Error("admin no longer aggregates")
	}
	basic, _ := state.Get[*rbacv1.ClusterRoleBinding](s, "", "system:basic-user")
	if !slices.Equal(basic.Subjects, parseSubjects([]string{"user=x", "group=system:authenticated"})) {
		t.Errorf("subjects: %v", basic.Subjects)
	}
	if b, _ := state.Get[*rbacv1.ClusterRoleBinding](s, "", "system:discovery"); b.RoleRef.Name != "system:discovery" {
		t.Errorf("a binding to another role was left: %v", b.RoleRef)
	}
}

func TestRulesAreListed(t *testing.T) {
	s := open(t)
	create(t, s, role("team", "reader", "get core pods a"))
	create(t, s, roleBinding("team", "readers", "Role", "reader", "user=jane", "group=devs"))
	create(t, s, roleBinding("team", "broken", "Role", "gone", "user=jane"))
	rules, err := over(s).Rules(t.Context(), jane, "team")
	if err != nil || len(rules.Resources) != 1 || rules.Resources[0].Names[0] != "a" {
		t.Errorf("%+v, %v", rules, err)
	}
	if rules.Problem == nil || rules.Problem.Error() != `role.rbac.authorization.k8s.io "gone" not found` {
		t.Errorf("the missing role is not told: %v", rules.Problem)
	}
}

// BenchmarkAuthorize: a decision among the defaults and 1,000 bindings of others, and among 1,000 of the same user.
func BenchmarkAuthorize(b *testing.B) {
	for _, name := range []string{"others", "own"} {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			if err := Reconcile(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			for i := range 1000 {
				who := "user=jane"
				if name == "others" {
					who = fmt.Sprintf("user=u%d", i)
				}
				create(b, s, roleBinding("team", fmt.Sprintf("b%d", i), "ClusterRole", "system:node-proxier", who))
			}
			create(b, s, role("team", "reader", "get core pods"))
			create(b, s, roleBinding("team", "readers", "Role", "reader", "group=devs"))
			z := over(s)
			a := ask(jane, "get pods team web")
			for b.Loop() {
				if decision, _, err := z.Authorize(b.Context(), a); err != nil || decision != auth.Allow {
					b.Fatal(decision, err)
				}
			}
		})
	}
}
