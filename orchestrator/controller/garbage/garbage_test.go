package garbage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/garbage"
	"wherry/orchestrator/state"
)

func cluster(s *state.State, _ controller.Events) []controller.Controller {
	return []controller.Controller{garbage.New(s)}
}

// make makes a ConfigMap that belongs to the owners. A name with a "!" has a finalizer of somebody else.
func create(c *controllertest.Cluster, name string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	c.T.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: strings.TrimSuffix(name, "!")}}
	if cm.Name != name {
		cm.Finalizers = []string{"example.org/hold"}
	}
	for _, o := range owners {
		block := true
		cm.OwnerReferences = append(cm.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, BlockOwnerDeletion: &block})
	}
	return controllertest.Create(c, cm)
}

func remove(c *controllertest.Cluster, name string, policy metav1.DeletionPropagation) {
	c.T.Helper()
	if err := state.Delete[*corev1.ConfigMap](c.T.Context(), c.State, "default", name, state.DeleteOptions{Propagation: &policy}); err != nil {
		c.T.Fatal(err)
	}
	c.Settle(time.Second)
}

func expect(c *controllertest.Cluster, when, want string) {
	c.T.Helper()
	var all []string
	for _, cm := range state.List[*corev1.ConfigMap](c.State, state.Selector{}) {
		text := cm.Name
		if cm.DeletionTimestamp != nil {
			text += "(going)"
		}
		if n := len(cm.OwnerReferences); n > 0 {
			text += fmt.Sprintf("<%d", n)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	if got := strings.Join(all, " "); got != want {
		c.T.Errorf("%s: %q, want %q", when, got, want)
	}
}

func TestBackground(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		a, b := create(c, "a"), create(c, "b")
		child := create(c, "child", a)
		create(c, "grandchild", child)
		create(c, "shared", a, b)
		remove(c, "a", metav1.DeletePropagationBackground)
		expect(c, "a is gone", "b shared<1")
		remove(c, "b", metav1.DeletePropagationBackground)
		expect(c, "b is gone", "")
	})
}

func TestForegroundWaitsForDependents(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		a := create(c, "a")
		child := create(c, "child", a)
		create(c, "grandchild!", child)
		remove(c, "a", metav1.DeletePropagationForeground)
		expect(c, "held by the grandchild", "a(going) child(going)<1 grandchild(going)<1")
		controllertest.Change(c, "grandchild", func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
		c.Settle(time.Second)
		expect(c, "let go", "")
	})
}

func TestOrphansLiveOn(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		a := create(c, "a")
		create(c, "child", a)
		remove(c, "a", metav1.DeletePropagationOrphan)
		expect(c, "a is gone", "child")
	})
}

func TestOwnersThatNeverWere(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		a := create(c, "a")
		impostor := a.DeepCopy()
		impostor.UID = types.UID("another")
		create(c, "of-impostor", impostor)
		unknown := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "unknown", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "example.org/v1", Kind: "Thing", Name: "t", UID: "u"}}}}
		controllertest.Create(c, unknown)
		c.Settle(time.Second)
		expect(c, "the impostor's child is gone", "a")
		if _, ok := state.Get[*corev1.Secret](c.State, "default", "unknown"); !ok {
			c.T.Error("an object of an owner that cannot be judged was deleted")
		}
	})
}

func TestForegroundLeavesWhatAnotherOwnerHolds(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		a, b := create(c, "a"), create(c, "b")
		create(c, "shared", a, b)
		remove(c, "a", metav1.DeletePropagationForeground)
		expect(c, "a is gone", "b shared<1")
	})
}

func TestForegroundEndsWhenNothingBlocksAnyMore(t *testing.T) {
	for name, change := range map[string]func(*corev1.ConfigMap){
		"reference removed": func(cm *corev1.ConfigMap) { cm.OwnerReferences = nil },
		"does not block":    func(cm *corev1.ConfigMap) { cm.OwnerReferences[0].BlockOwnerDeletion = nil },
	} {
		t.Run(name, func(t *testing.T) {
			controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
				create(c, "child!", create(c, "a"))
				remove(c, "a", metav1.DeletePropagationForeground)
				expect(c, "held by the child", "a(going) child(going)<1")
				controllertest.Change(c, "child", change)
				c.Settle(time.Second)
				if _, ok := state.Get[*corev1.ConfigMap](c.State, "default", "a"); ok {
					c.T.Error("the owner still waits")
				}
			})
		})
	}
}

func TestForegroundOfACircle(t *testing.T) {
	for _, members := range []string{"ab", "abc", "abcd"} {
		t.Run(members, func(t *testing.T) {
			controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
				last := create(c, "a")
				for _, name := range members[1:] {
					last = create(c, string(name), last)
				}
				controllertest.Change(c, "a", func(cm *corev1.ConfigMap) {
					block := true
					cm.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: last.Name, UID: last.UID, BlockOwnerDeletion: &block}}
				})
				remove(c, "a", metav1.DeletePropagationForeground)
				expect(c, "all are gone", "")
			})
		})
	}
}
