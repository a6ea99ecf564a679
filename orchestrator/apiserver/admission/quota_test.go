package admission_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

func resources(pairs ...string) corev1.ResourceList {
	all := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		all[corev1.ResourceName(pairs[i])] = quantity.MustParse(pairs[i+1])
	}
	return all
}

// limit makes a quota as its controller leaves it while nothing is used.
func limit(t testing.TB, s *state.State, spec corev1.ResourceQuotaSpec) {
	t.Helper()
	if _, err := state.Create(t.Context(), s, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q"}, Spec: spec}); err != nil {
		t.Fatal(err)
	}
	_, err := state.UpdateStatus(t.Context(), s, "default", "q", func(q *corev1.ResourceQuota) error {
		q.Status.Hard, q.Status.Used = spec.Hard, corev1.ResourceList{}
		for name := range spec.Hard {
			q.Status.Used[name] = quantity.MustParse("0")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Many create at once what only some of them may: the quota is used up, never exceeded, and says so.
func TestQuotasAreNotExceededByRaces(t *testing.T) {
	s := open(t)
	const writers, most = 60, 17
	limit(t, s, corev1.ResourceQuotaSpec{Hard: resources("pods", fmt.Sprint(most), "requests.cpu", "1700m")})
	results := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			p := pod(func(p *corev1.Pod) { p.Name = fmt.Sprintf("p%d", i) })
			p.Spec.Containers[0].Resources.Requests = resources("cpu", "100m")
			_, results[i] = state.Create(t.Context(), s, p)
		})
	}
	all.Wait()
	refused := 0
	for _, err := range results {
		switch {
		case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: q, requested: pods=1,requests.cpu=100m, used: pods=17,requests.cpu=1700m, limited: pods=17,requests.cpu=1700m"):
			refused++
		case err != nil:
			t.Error(err)
		}
	}
	q, _ := state.Get[*corev1.ResourceQuota](s, "default", "q")
	pods := len(state.List[*corev1.Pod](s, state.Selector{Namespace: "default"}))
	if pods != most || refused != writers-most || q.Status.Used.Cpu().Cmp(quantity.MustParse("0")) != 0 || q.Status.Used.Name("requests.cpu", "").String() != "1700m" {
		t.Errorf("%d pods, %d refused, used %v", pods, refused, q.Status.Used)
	}
}

func TestQuotasNoteOnlyWhatIsWritten(t *testing.T) {
	s := open(t)
	limit(t, s, corev1.ResourceQuotaSpec{Hard: resources("count/configmaps", "2")})
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	kind, _ := s.Kinds().For(config)
	if _, err := s.Create(t.Context(), kind, config, state.CreateOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Create(t.Context(), s, config); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Create(t.Context(), s, config); !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	q, _ := state.Get[*corev1.ResourceQuota](s, "default", "q")
	if used := q.Status.Used["count/configmaps"]; used.Value() != 1 {
		t.Errorf("%s used", used.String())
	}
}

func TestScopesOfQuotas(t *testing.T) {
	requests := func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = resources("cpu", "1") }
	deadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(int64(9)) }
	class := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.PriorityClassName = name }
	}
	elsewhere := func(p *corev1.Pod) {
		term := corev1.PodAffinityTerm{TopologyKey: "x", Namespaces: []string{"other"}, LabelSelector: &metav1.LabelSelector{}}
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}}
	}
	selector := func(op corev1.ScopeSelectorOperator, values ...string) *corev1.ScopeSelector {
		return &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: op, Values: values}}}
	}
	for name, test := range map[string]struct {
		scopes   []corev1.ResourceQuotaScope
		selector *corev1.ScopeSelector
		in, out  func(*corev1.Pod)
	}{
		"best effort":     {[]corev1.ResourceQuotaScope{"BestEffort"}, nil, nil, requests},
		"not best effort": {[]corev1.ResourceQuotaScope{"NotBestEffort"}, nil, requests, nil},
		"terminating":     {[]corev1.ResourceQuotaScope{"Terminating"}, nil, deadline, nil},
		"not terminating": {[]corev1.ResourceQuotaScope{"NotTerminating"}, nil, nil, deadline},
		"cross namespace": {[]corev1.ResourceQuotaScope{"CrossNamespacePodAffinity"}, nil, elsewhere, nil},
		"class in":        {nil, selector("In", "high"), class("high"), class("low")},
		"class not in":    {nil, selector("NotIn", "high"), class("low"), class("high")},
		"class exists":    {nil, selector("Exists"), class("low"), nil},
		"no class":        {nil, selector("DoesNotExist"), nil, class("low")},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			for _, n := range []string{"high", "low"} {
				if _, err := state.Create(t.Context(), s, priorityClass(n)); err != nil {
					t.Fatal(err)
				}
			}
			limit(t, s, corev1.ResourceQuotaSpec{Hard: resources("pods", "0"), Scopes: test.scopes, ScopeSelector: test.selector})
			if _, err := state.Create(t.Context(), s, pod(test.in)); !apierrors.IsForbidden(err) {
				t.Errorf("in scope: %v", err)
			}
			if _, err := state.Create(t.Context(), s, pod(test.out)); err != nil {
				t.Errorf("out of scope: %v", err)
			}
		})
	}
}
