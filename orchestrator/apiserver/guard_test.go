package apiserver_test

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const rbacPath = "/apis/rbac.authorization.k8s.io/v1/"

// TestNobodyGivesMoreThanHeHas: jane may write roles and bindings, and reads pods in default.
func TestNobodyGivesMoreThanHeHas(t *testing.T) {
	c := start(t)
	create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
	clusterRole(c, "writer", rule("create,update,patch,get", rbacv1.GroupName, "roles,rolebindings,clusterroles,clusterrolebindings"))
	clusterRole(c, "pod-reader", rule("get,list", "", "pods"))
	clusterRole(c, "secret-reader", rule("get", "", "secrets"))
	grant(c, "", "writer", "jane", "escalator", "binder")
	grant(c, "default", "pod-reader", "jane")
	clusterRole(c, "escalate", rule("escalate", rbacv1.GroupName, "roles,clusterroles"))
	clusterRole(c, "bind", rule("bind", rbacv1.GroupName, "clusterroles", "secret-reader"))
	grant(c, "", "escalate", "escalator")
	grant(c, "default", "bind", "binder")
	role := func(name, rules string) string {
		return `{"metadata":{"name":"` + name + `"},"rules":[` + rules + `]}`
	}
	binding := func(name, kind, to string) string {
		return `{"metadata":{"name":"` + name + `"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"` + kind + `","name":"` + to + `"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"x"}]}`
	}
	pods, secrets := `{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}`, `{"verbs":["list","get"],"apiGroups":[""],"resources":["secrets"]}`
	roles, bindings := rbacPath+"namespaces/default/roles", rbacPath+"namespaces/default/rolebindings"
	const secretsRefused = "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n"
	for _, test := range []struct {
		who, method, path, body string
		code                    int
		want                    string
	}{
		{"jane", "POST", roles, role("own", pods), 201, ""},
		{"jane", "POST", roles, role("more", pods+","+secrets), 403, `roles.rbac.authorization.k8s.io "more" is forbidden: ` + secretsRefused + `{APIGroups:[""], Resources:["secrets"], Verbs:["list" "get"]}`},
		{"jane", "POST", rbacPath + "namespaces/kube-system/roles", role("own", pods), 403, `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{"jane", "PUT", roles + "/own", role("own", secrets), 403, `{APIGroups:[""], Resources:["secrets"], Verbs:["list" "get"]}`},
		{"jane", "PATCH", roles + "/own", `{"metadata":{"finalizers":["example.com/x"]}}`, 200, ""},
		{"jane", "POST", rbacPath + "clusterroles", role("own", pods), 403, `clusterroles.rbac.authorization.k8s.io "own" is forbidden: user "jane"`},
		{"jane", "POST", rbacPath + "clusterroles", `{"metadata":{"name":"u"},"rules":[{"verbs":["get"],"nonResourceURLs":["/metrics","/x"]}]}`, 403, `{NonResourceURLs:["/metrics"], Verbs:["get"]}` + "\n" + `{NonResourceURLs:["/x"], Verbs:["get"]}`},
		{"jane", "POST", rbacPath + "clusterroles", `{"metadata":{"name":"g"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}`, 403, `must have cluster-admin privileges to use the aggregationRule`},
		{"escalator", "POST", roles, role("more", secrets), 201, ""},
		{"escalator", "POST", rbacPath + "clusterroles", `{"metadata":{"name":"g"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}`, 201, ""},
		{"jane", "POST", bindings, binding("own", "Role", "own"), 201, ""},
		{"jane", "POST", bindings, binding("pods", "ClusterRole", "pod-reader"), 201, ""},
		{"jane", "POST", bindings, binding("secrets", "ClusterRole", "secret-reader"), 403, `rolebindings.rbac.authorization.k8s.io "secrets" is forbidden: ` + secretsRefused + `{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`},
		{"jane", "POST", bindings, binding("none", "Role", "none"), 404, `roles.rbac.authorization.k8s.io "none" not found`},
		{"jane", "POST", rbacPath + "clusterrolebindings", binding("pods", "ClusterRole", "pod-reader"), 403, `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`},
		{"binder", "POST", bindings, binding("secrets", "ClusterRole", "secret-reader"), 201, ""},
		{"binder", "POST", bindings, binding("more", "Role", "more"), 403, `not currently held`},
		{"binder", "POST", rbacPath + "clusterrolebindings", binding("secrets", "ClusterRole", "secret-reader"), 403, `not currently held`},
		{"admin", "POST", rbacPath + "clusterrolebindings", binding("secrets", "ClusterRole", "secret-reader"), 201, ""},
	} {
		content := contentJSON
		if test.method == "PATCH" {
			content = contentMerge
		}
		a := c.as(test.who, test.method, test.path, test.body, content)
		var status metav1.Status
		if err := json.Unmarshal([]byte(a.body), &status); err != nil {
			t.Fatal(err)
		}
		if a.StatusCode != test.code || !strings.Contains(status.Message, test.want) {
			t.Errorf("%s %s %s %.60s: %d %s\nwant %d %s", test.who, test.method, test.path, test.body, a.StatusCode, status.Message, test.code, test.want)
		}
	}
}
