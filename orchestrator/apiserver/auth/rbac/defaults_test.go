package rbac

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// ours are roles that Kubernetes' add-ons bring.
var ours = map[string]bool{"system:aggregated-metrics-reader": true}

// TestDefaultsAreKubernetes compares with the policy that Kubernetes' own tests hold theirs to.
func TestDefaultsAreKubernetes(t *testing.T) {
	p := defaults()
	compare(t, p.clusterRoles, "cluster-roles.yaml", "controller-roles.yaml")
	compare(t, p.clusterRoleBindings, "cluster-role-bindings.yaml", "controller-role-bindings.yaml")
	compare(t, p.roles, "namespace-roles.yaml")
	compare(t, p.roleBindings, "namespace-role-bindings.yaml")
}

func compare[T metav1.Object](t *testing.T, got []T, files ...string) {
	t.Helper()
	got = slices.DeleteFunc(got, func(role T) bool { return ours[role.GetName()] })
	var want []T
	for _, file := range files {
		want = append(want, reference[T](t, file)...)
	}
	byName := func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	}
	slices.SortFunc(got, byName)
	slices.SortFunc(want, byName)
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(metav1.TypeMeta{})); diff != "" {
		t.Error(diff)
	}
}

func reference[T any](t *testing.T, file string) []T {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatalf("finding Kubernetes' sources: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []T `json:"items"`
	}
	if err := yaml.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 {
		t.Fatalf("%s is empty", file)
	}
	return list.Items
}

func TestNodeRules(t *testing.T) {
	if rules := NodeRules(); !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "pods/status") }) {
		t.Errorf("nodes may not report: %v", rules)
	}
}
