package apiservice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/apiservice"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/customresource"
	"wherry/orchestrator/state"
)

const boats = `
metadata: {name: boats.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`

func runLocal(t *testing.T, f func(c *controllertest.Cluster)) {
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{customresource.New(s), apiservice.NewLocal(s, schema.GroupVersion{Group: "authentication.k8s.io", Version: "v1"})}
	}, f)
}

func shown(c *controllertest.Cluster, names ...string) string {
	c.Settle(time.Minute)
	var all []string
	for _, s := range state.List[*apiregistrationv1.APIService](c.State, state.Selector{}) {
		if !slices.Contains(names, s.Name) {
			continue
		}
		line := fmt.Sprintf("%s %s %d/%d", s.Name, s.Labels[apiservice.Automanaged], s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority)
		for _, cond := range s.Status.Conditions {
			line += fmt.Sprintf(" %s=%s %s", cond.Type, cond.Status, cond.Reason)
		}
		all = append(all, line)
	}
	return strings.Join(all, "; ")
}

func TestLocalAPIServicesFollowWhatIsServed(t *testing.T) {
	runLocal(t, func(c *controllertest.Cluster) {
		names := []string{"v1.", "v1.apps", "v2.autoscaling", "v1.authentication.k8s.io", "v1.example.org", "v1.apiregistration.k8s.io"}
		const builtin = "v1. onstart 18000/1 Available=True Local; v1.apps onstart 17800/15 Available=True Local; " +
			"v1.authentication.k8s.io onstart 17700/15 Available=True Local"
		const rest = "v2.autoscaling onstart 17500/30 Available=True Local"
		want := func(what, text string) {
			t.Helper()
			if got := shown(c, names...); got != text {
				t.Errorf("%s:\n got %s\nwant %s", what, got, text)
			}
		}
		want("at first", builtin+"; "+rest)
		controllertest.Apply(c, boats, &apiextensionsv1.CustomResourceDefinition{})
		want("with a definition", builtin+"; v1.example.org true 1000/100 Available=True Local; "+rest)
		if err := state.Delete[*apiregistrationv1.APIService](c.T.Context(), c.State, "", "v1.apps", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := state.Update(c.T.Context(), c.State, "", "v1.", func(s *apiregistrationv1.APIService) error {
			s.Spec.GroupPriorityMinimum = 7
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := state.Delete[*apiextensionsv1.CustomResourceDefinition](c.T.Context(), c.State, "", "boats.example.org", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		want("put back", builtin+"; "+rest)
	})
}

// A Service of a user takes over, until he deletes his object.
func TestUsersTakeOver(t *testing.T) {
	runLocal(t, func(c *controllertest.Cluster) {
		c.Settle(time.Minute)
		if _, err := state.Update(c.T.Context(), c.State, "", "v1.apps", func(s *apiregistrationv1.APIService) error {
			s.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: "default", Name: "a"}
			s.Spec.InsecureSkipTLSVerify, s.Spec.GroupPriorityMinimum = true, 5
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := shown(c, "v1.apps"); !strings.HasPrefix(got, "v1.apps  5/15") {
			t.Errorf("taken over: %s", got)
		}
		for range 2 {
			if err := state.Delete[*apiregistrationv1.APIService](c.T.Context(), c.State, "", "v1.apps", state.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := shown(c, "v1.apps"); got != "v1.apps onstart 17800/15 Available=True Local" {
				t.Errorf("given back: %s", got)
			}
		}
	})
}
