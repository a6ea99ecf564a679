package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/auth"
)

// as asks as somebody; more headers may follow.
func (c *cluster) as(who, method, path, body string, headers ...string) answer {
	c.t.Helper()
	return c.ask(method, path, body, append([]string{"Authorization: Bearer " + who, contentJSON}, headers...)...)
}

func grant(c *cluster, namespace, role string, users ...string) {
	c.t.Helper()
	var subjects []rbacv1.Subject
	for _, u := range users {
		subjects = append(subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: u})
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	name := strings.Join(users, "-") + "-" + strings.ReplaceAll(role, ":", "-")
	if namespace == "" {
		create(c, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: subjects})
		return
	}
	create(c, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: ref, Subjects: subjects})
}

func clusterRole(c *cluster, name string, rules ...rbacv1.PolicyRule) {
	c.t.Helper()
	create(c, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})
}

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	split := func(s string) []string { return strings.Split(s, ",") }
	return rbacv1.PolicyRule{Verbs: split(verbs), APIGroups: split(groups), Resources: split(resources), ResourceNames: names}
}

func TestNamesAreJudged(t *testing.T) {
	c := start(t)
	clusterRole(c, "one", rule("get,list,watch,update,delete", "", "configmaps", "a"), rule("create", "", "configmaps"))
	grant(c, "default", "one", "jane")
	for _, test := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", maps, cm("a", ""), 201}, {"POST", maps, cm("b", ""), 201},
		{"GET", maps + "/a", "", 200}, {"GET", maps + "/b", "", 403},
		{"GET", maps, "", 403},
		{"GET", maps + "?fieldSelector=metadata.name%3Da", "", 200},
		{"GET", maps + "?fieldSelector=metadata.name%3Db", "", 403},
		{"GET", maps + "?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Db", "", 403},
		{"DELETE", maps + "?fieldSelector=metadata.name%3Da", "", 403},
		{"PUT", maps + "/b", cm("b", ""), 403},
		{"DELETE", maps + "/a", "", 200},
	} {
		if a := c.as("jane", test.method, test.path, test.body); a.StatusCode != test.code {
			t.Errorf("%s %s: %d %s; want %d", test.method, test.path, a.StatusCode, a.body, test.code)
		}
	}
}

func TestImpersonation(t *testing.T) {
	c := start(t)
	c.defaultRoles()
	clusterRole(c, "impersonator",
		rule("impersonate", "", "users", "joe"), rule("impersonate", "", "groups", "devs"), rule("impersonate", "", "serviceaccounts", "bot"),
		rule("impersonate", "authentication.k8s.io", "userextras/scopes", "view"), rule("impersonate", "authentication.k8s.io", "uids", "u-1"))
	grant(c, "", "impersonator", "jane")
	reviews := "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	for _, test := range []struct {
		who, headers string
		code         int
		want         string // the user, or the message
	}{
		{"jane", "Impersonate-User: joe", 201, "joe [system:authenticated]"},
		{"jane", "Impersonate-User: joe|Impersonate-Group: devs", 201, "joe [devs system:authenticated]"},
		{"jane", "Impersonate-User: joe|Impersonate-Group: devs|Impersonate-Uid: u-1|Impersonate-Extra-Scopes: view", 201, "joe [devs system:authenticated] u-1 map[scopes:[view]]"},
		{"jane", "Impersonate-User: system:serviceaccount:default:bot", 201, "system:serviceaccount:default:bot [system:serviceaccounts system:serviceaccounts:default system:authenticated]"},
		{"jane", "Impersonate-User: ann", 403, `users "ann" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope`},
		{"jane", "Impersonate-User: joe|Impersonate-Group: system:masters", 403, `groups "system:masters" is forbidden: User "jane" cannot impersonate resource "groups" in API group "" at the cluster scope`},
		{"jane", "Impersonate-User: joe|Impersonate-Uid: u-2", 403, `uids.authentication.k8s.io "u-2" is forbidden: User "jane" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope`},
		{"jane", "Impersonate-User: joe|Impersonate-Extra-Scopes: admin", 403, `userextras.authentication.k8s.io "admin" is forbidden: User "jane" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope`},
		{"jane", "Impersonate-User: system:serviceaccount:default:root", 403, `serviceaccounts "root" is forbidden: User "jane" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default"`},
		{"joe", "Impersonate-User: joe", 403, `users "joe" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster scope`},
		{"jane", "Impersonate-Group: devs", 400, `requested [{Group  devs    }] without impersonating a user`},
		{"admin", "Impersonate-User: ann|Impersonate-Group: system:unauthenticated", 403, `cannot create resource "selfsubjectreviews"`},
		{"admin", "Impersonate-User: system:anonymous", 403, `User "system:anonymous" cannot create resource "selfsubjectreviews"`},
		{"admin", "Impersonate-User: ann|Impersonate-Extra-acme.com%2fproject: x", 201, "ann [system:authenticated]  map[acme.com/project:[x]]"},
	} {
		a := c.as(test.who, "POST", reviews, `{}`, strings.Split(test.headers, "|")...)
		if a.StatusCode != test.code {
			t.Errorf("%s: %d %s", test.headers, a.StatusCode, a.body)
			continue
		}
		var got string
		if test.code == 201 {
			got = whois(t, a.body)
		} else {
			var status metav1.Status
			if err := json.Unmarshal([]byte(a.body), &status); err != nil {
				t.Fatal(err)
			}
			got = status.Message
		}
		if test.code == 201 && got != test.want || !strings.Contains(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", test.headers, got, test.want)
		}
	}
}

func whois(t *testing.T, body string) string {
	var review authenticationv1.SelfSubjectReview
	if err := json.Unmarshal([]byte(body), &review); err != nil {
		t.Fatal(err)
	}
	u := review.Status.UserInfo
	text := fmt.Sprintf("%s %v", u.Username, u.Groups)
	if u.UID != "" || u.Extra != nil {
		text += fmt.Sprintf(" %s %v", u.UID, u.Extra)
	}
	return text
}

// TestImpersonatedRights: who acts as another has that one's rights and no more of his own.
func TestImpersonatedRights(t *testing.T) {
	c := start(t)
	grant(c, "default", "reader", "joe")
	clusterRole(c, "reader", rule("get,list", "", "configmaps"))
	if a := c.as("admin", "GET", maps, "", "Impersonate-User: joe"); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	a := c.as("admin", "POST", maps, cm("x", ""), "Impersonate-User: joe")
	if a.StatusCode != 403 || !strings.Contains(a.body, `configmaps is forbidden: User \"joe\" cannot create resource \"configmaps\"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func FuzzImpersonation(f *testing.F) {
	f.Add("joe", "devs", "Impersonate-Extra-A%2Fb", "x", "u")
	f.Add("system:serviceaccount:a:b", "", "Impersonate-Extra-%zz", "", "")
	f.Add("", "g", "Impersonate-Extra-", "", "")
	f.Fuzz(func(t *testing.T, user, group, extra, value, uid string) {
		h := http.Header{}
		for name, v := range map[string]string{"Impersonate-User": user, "Impersonate-Group": group, extra: value, "Impersonate-Uid": uid} {
			if v != "" {
				h.Add(name, v)
			}
		}
		who, judged, err := apiserver.ReadImpersonation(h)
		if who == nil {
			return
		}
		if err != nil || who.Name != user || who.Name == "" || len(judged) < 1 {
			t.Fatalf("%+v, %v, %v", who, judged, err)
		}
		n := 1
		if uid != "" {
			n++
		}
		if group != "" {
			n++
		}
		for _, values := range who.Extra {
			n += len(values)
		}
		if n != len(judged) {
			t.Errorf("%d parts are judged of %d: %+v", len(judged), n, judged)
		}
		if slices.Contains(who.Groups, auth.GroupMasters) && group != auth.GroupMasters {
			t.Errorf("groups out of nowhere: %v", who.Groups)
		}
	})
}

const (
	accessReviews = "/apis/authorization.k8s.io/v1/"
	podsAttr      = `"resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}`
)

func TestAccessReviews(t *testing.T) {
	c := start(t)
	c.defaultRoles()
	grant(c, "default", "reader", "joe")
	clusterRole(c, "reader", rule("get", "", "pods"), rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}})
	local := accessReviews + "namespaces/default/localsubjectaccessreviews"
	for _, test := range []struct {
		path, body string
		code       int
		want       string
	}{
		{accessReviews + "subjectaccessreviews", `{"spec":{"user":"joe",` + podsAttr + `}}`, 201,
			`"status":{"allowed":true,"reason":"RBAC: allowed by RoleBinding \"joe-reader/default\" of ClusterRole \"reader\" to User \"joe\""}`},
		{accessReviews + "subjectaccessreviews", `{"spec":{"user":"ann",` + podsAttr + `}}`, 201, `"status":{"allowed":false}`},
		{accessReviews + "subjectaccessreviews", `{"spec":{"groups":["system:masters"],` + podsAttr + `}}`, 201, `"status":{"allowed":true}`},
		{accessReviews + "subjectaccessreviews", `{"spec":{"user":"joe","nonResourceAttributes":{"verb":"get","path":"/api"}}}`, 201, `"status":{"allowed":false}`},
		{accessReviews + "subjectaccessreviews", `{"spec":{"user":"joe","groups":["system:authenticated"],"nonResourceAttributes":{"verb":"get","path":"/api"}}}`, 201, `"allowed":true`},
		{accessReviews + "subjectaccessreviews", `{"spec":{` + podsAttr + `}}`, 422, `.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be specified`},
		{accessReviews + "subjectaccessreviews", `{"metadata":{"name":"x"},"spec":{"user":"joe",` + podsAttr + `}}`, 422, `must be empty`},
		{accessReviews + "subjectaccessreviews", `{"spec":{"user":"joe"}}`, 422, `exactly one of nonResourceAttributes or resourceAttributes must be specified`},
		{accessReviews + "subjectaccessreviews", `{"spec":{"user":"joe","nonResourceAttributes":{},` + podsAttr + `}}`, 422, `cannot be specified in combination with resourceAttributes`},
		{local, `{"metadata":{"namespace":"default"},"spec":{"user":"joe",` + podsAttr + `}}`, 201, `"allowed":true`},
		{local, `{"spec":{"user":"joe",` + podsAttr + `}}`, 201, `"allowed":true`},
		{local, `{"spec":{"user":"joe","resourceAttributes":{"verb":"get","resource":"pods"}}}`, 422, `must match metadata.namespace`},
		{local, `{"metadata":{"namespace":"other"},"spec":{"user":"joe",` + podsAttr + `}}`, 400, `does not match`},
		{accessReviews + "localsubjectaccessreviews", `{}`, 404, ``},
		{accessReviews + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"rawSelector":"a>b"}}}}`, 201,
			`"evaluationError":"spec.resourceAttributes.fieldSelector ignored due to parse error"`},
		{accessReviews + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b"]},{"key":"a","operator":"Like","values":["b"]}]}}}}`, 201,
			`"evaluationError":"spec.resourceAttributes.fieldSelector partially ignored due to parse error"`},
		{accessReviews + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{"requirements":[{"key":"a","operator":"Exists"},{"key":"a","operator":"Like","values":["b"]}]}}}}`, 201,
			`"evaluationError":"spec.resourceAttributes.labelSelector partially ignored due to parse error"`},
		{accessReviews + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{}}}}`, 422,
			`spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required`},
		{accessReviews + "selfsubjectrulesreviews", `{"spec":{}}`, 400, `no namespace on request`},
	} {
		a := c.ask("POST", test.path, test.body, contentJSON)
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
			t.Errorf("%s %s: %d\n%s\nwant %d %s", test.path, test.body, a.StatusCode, a.body, test.code, test.want)
		}
	}
	if a := c.as("joe", "POST", accessReviews+"subjectaccessreviews", `{"spec":{"user":"joe",`+podsAttr+`}}`); a.StatusCode != 403 {
		t.Errorf("anybody may ask about others: %d %s", a.StatusCode, a.body)
	}
	rules := c.as("joe", "POST", accessReviews+"selfsubjectrulesreviews", `{"spec":{"namespace":"default"}}`)
	for _, want := range []string{`{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}`, `{"verbs":["get"],"nonResourceURLs":["/x"]}`, `"selfsubjectreviews"`, `"incomplete":false`} {
		if !strings.Contains(rules.body, want) {
			t.Errorf("rules lack %s: %s", want, rules.body)
		}
	}
}

func TestSelectorsReachTheAuthorizer(t *testing.T) {
	var last *auth.Attributes
	c := start(t, func(cfg *apiserver.Config) { cfg.Authorizer = asking{func(a *auth.Attributes) { last = a }} })
	c.ask("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Da&labelSelector=x%20in%20(y)", "")
	if len(last.Fields) != 1 || last.Fields[0].Value != "a" || len(last.Labels) != 1 || last.Labels[0].Key() != "x" || last.Verb != "list" {
		t.Errorf("%+v", last)
	}
	c.ask("POST", accessReviews+"selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"rawSelector":"spec.nodeName=b"},"labelSelector":{"requirements":[{"key":"k","operator":"Exists"}]}}}}`, contentJSON)
	if len(last.Fields) != 1 || last.Fields[0].Value != "b" || len(last.Labels) != 1 || last.Labels[0].Key() != "k" || last.Version != "*" {
		t.Errorf("%+v", last)
	}
}

// asking allows everything and tells what it was asked.
type asking struct{ tell func(*auth.Attributes) }

func (z asking) Authorize(ctx context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	z.tell(a)
	return auth.Allow, "", nil
}

func (z asking) Rules(context.Context, *auth.User, string) (auth.Rules, error) {
	return auth.Rules{}, nil
}
