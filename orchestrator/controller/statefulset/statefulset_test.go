package statefulset_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/statefulset"
	"wherry/orchestrator/state"
)

// cluster: a pod with an image "broken" never gets ready.
func cluster(s *state.State, e controller.Events) []controller.Controller {
	broken := func(p *corev1.Pod) bool { return p.Spec.Containers[0].Image == "broken" }
	return []controller.Controller{statefulset.New(s, e), controllertest.Kubelet(s, broken)}
}

const db = `
metadata: {namespace: default, name: db}
spec:
  replicas: 3
  serviceName: peers
  minReadySeconds: 10
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: one}]}
`

// show is the set's pods and its status.
func show(c *controllertest.Cluster) string {
	var out []string
	for _, p := range state.List[*corev1.Pod](c.State, state.Selector{Namespace: "default"}) {
		out = append(out, p.Name+":"+p.Spec.Containers[0].Image)
	}
	set, _ := state.Get[*appsv1.StatefulSet](c.State, "default", "db")
	s := set.Status
	return fmt.Sprintf("%s | %d pods, %d ready, %d available, %d current, %d updated", strings.Join(out, " "),
		s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.CurrentReplicas, s.UpdatedReplicas)
}

func expect(t *testing.T, c *controllertest.Cluster, when, want string) {
	t.Helper()
	if got := show(c); got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", when, got, want)
	}
}

func setImage(image string) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = image }
}

func scale(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.Replicas = &n }
}

// Pods come one after the other, each when the one before is available, and go in the other direction.
func TestInOrder(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, db, &appsv1.StatefulSet{})
		c.Settle(time.Second)
		expect(t, c, "at first", "db-0:one | 1 pods, 1 ready, 0 available, 1 current, 1 updated")
		c.Settle(10 * time.Second)
		expect(t, c, "when the first is available", "db-0:one db-1:one | 2 pods, 2 ready, 1 available, 2 current, 2 updated")
		c.Settle(time.Minute)
		expect(t, c, "in the end", "db-0:one db-1:one db-2:one | 3 pods, 3 ready, 3 available, 3 current, 3 updated")
		controllertest.Change(c, "db", scale(1))
		c.Settle(time.Minute)
		expect(t, c, "scaled down", "db-0:one | 1 pods, 1 ready, 1 available, 1 current, 1 updated")
		var order []string
		for _, e := range c.Told() {
			if verb, pod, ok := strings.Cut(e, " Pod "); ok && strings.HasSuffix(e, "in StatefulSet db successful") {
				order = append(order, verb[strings.LastIndex(verb, " ")+1:]+" "+strings.Fields(pod)[0])
			}
		}
		want := []string{"create db-0", "create db-1", "create db-2", "delete db-2", "delete db-1"}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Error(diff)
		}
	})
}

func TestIdentity(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, strings.Replace(db, "replicas: 3", "replicas: 1\n  ordinals: {start: 7}", 1), &appsv1.StatefulSet{})
		c.Settle(time.Second)
		p, ok := state.Get[*corev1.Pod](c.State, "default", "db-7")
		if !ok {
			t.Fatal("there is no pod db-7")
		}
		set, _ := state.Get[*appsv1.StatefulSet](c.State, "default", "db")
		want := map[string]string{
			"app": "db", "apps.kubernetes.io/pod-index": "7", "statefulset.kubernetes.io/pod-name": "db-7",
			"controller-revision-hash": set.Status.UpdateRevision,
		}
		if diff := cmp.Diff(want, p.Labels); diff != "" {
			t.Error(diff)
		}
		if p.Spec.Hostname != "db-7" || p.Spec.Subdomain != "peers" {
			t.Errorf("it is %s in %s", p.Spec.Hostname, p.Spec.Subdomain)
		}
		controllertest.Change(c, "db-7", func(p *corev1.Pod) { delete(p.Labels, "apps.kubernetes.io/pod-index") })
		c.Settle(time.Second)
		if p, _ = state.Get[*corev1.Pod](c.State, "default", "db-7"); !cmp.Equal(p.Labels, want) {
			t.Errorf("a label that was taken away is not back: %v", p.Labels)
		}
	})
}

// A new template reaches the highest ordinal first; a partition keeps those below it, also when they are made anew.
func TestRollOutWithPartition(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, db, &appsv1.StatefulSet{})
		c.Settle(time.Minute)
		partition := func(n int32) func(*appsv1.StatefulSet) {
			return func(s *appsv1.StatefulSet) {
				s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &n}
			}
		}
		controllertest.Change(c, "db", partition(2))
		controllertest.Change(c, "db", setImage("two"))
		c.Settle(time.Minute)
		expect(t, c, "partition 2", "db-0:one db-1:one db-2:two | 3 pods, 3 ready, 3 available, 2 current, 1 updated")
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", "db-0", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Settle(time.Minute)
		expect(t, c, "db-0 was deleted", "db-0:one db-1:one db-2:two | 3 pods, 3 ready, 3 available, 2 current, 1 updated")
		controllertest.Change(c, "db", partition(0))
		c.Settle(15 * time.Second)
		expect(t, c, "on its way", "db-0:two db-1:two db-2:two | 3 pods, 3 ready, 2 available, 3 current, 3 updated")
		c.Settle(time.Minute)
		set, _ := state.Get[*appsv1.StatefulSet](c.State, "default", "db")
		if s := set.Status; s.CurrentRevision != s.UpdateRevision || s.CurrentReplicas != 3 {
			t.Errorf("the roll-out is over, and the status says %+v", s)
		}
	})
}

func TestABrokenTemplateStopsAtOnePodAndIsRolledBack(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, strings.Replace(db, "replicas: 3", "replicas: 3\n  podManagementPolicy: Parallel", 1), &appsv1.StatefulSet{})
		c.Settle(time.Second)
		expect(t, c, "all at once", "db-0:one db-1:one db-2:one | 3 pods, 3 ready, 0 available, 3 current, 3 updated")
		c.Settle(time.Minute)
		controllertest.Change(c, "db", setImage("broken"))
		c.Settle(time.Minute)
		expect(t, c, "stuck", "db-0:one db-1:one db-2:broken | 3 pods, 2 ready, 2 available, 2 current, 1 updated")
		controllertest.Change(c, "db", setImage("one"))
		c.Settle(time.Minute)
		expect(t, c, "rolled back", "db-0:one db-1:one db-2:one | 3 pods, 3 ready, 3 available, 3 current, 3 updated")
		all := state.List[*appsv1.ControllerRevision](c.State, state.Selector{Namespace: "default"})
		numbers := []int64{}
		for _, r := range all {
			numbers = append(numbers, r.Revision)
		}
		slices.Sort(numbers)
		if !slices.Equal(numbers, []int64{2, 3}) {
			t.Errorf("revisions %v: the first one is to be the third", numbers)
		}
	})
}

func TestOnDelete(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, strings.Replace(db, "replicas: 3", "replicas: 2\n  updateStrategy: {type: OnDelete}", 1), &appsv1.StatefulSet{})
		c.Settle(time.Minute)
		controllertest.Change(c, "db", setImage("two"))
		c.Settle(time.Minute)
		expect(t, c, "nobody has deleted anything", "db-0:one db-1:one | 2 pods, 2 ready, 2 available, 2 current, 0 updated")
		if err := state.Delete[*corev1.Pod](c.T.Context(), c.State, "default", "db-1", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Settle(time.Minute)
		expect(t, c, "db-1 was deleted", "db-0:one db-1:two | 2 pods, 2 ready, 2 available, 1 current, 1 updated")
	})
}

func TestPodsThatEndAreMadeAnew(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, strings.Replace(db, "replicas: 3", "replicas: 1", 1), &appsv1.StatefulSet{})
		c.Settle(time.Minute)
		before, _ := state.Get[*corev1.Pod](c.State, "default", "db-0")
		_, err := state.UpdateStatus(c.T.Context(), c.State, "default", "db-0", func(p *corev1.Pod) error {
			p.Status.Phase = corev1.PodFailed
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Settle(time.Minute)
		after, ok := state.Get[*corev1.Pod](c.State, "default", "db-0")
		if !ok || after.UID == before.UID {
			t.Error("the pod that failed was not replaced")
		}
	})
}

// Claims stay when pods go, unless the set says otherwise.
func TestClaims(t *testing.T) {
	const templates = "volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]"
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Apply(c, strings.Replace(db, "replicas: 3", "replicas: 2\n  podManagementPolicy: Parallel\n  "+templates, 1), &appsv1.StatefulSet{})
		c.Settle(time.Minute)
		p, ok := state.Get[*corev1.Pod](c.State, "default", "db-1")
		if !ok || len(p.Spec.Volumes) != 1 || p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-1" {
			t.Fatalf("the pod's volumes are %+v", p)
		}
		owners := func(when, claim, want string) {
			t.Helper()
			pvc, ok := state.Get[*corev1.PersistentVolumeClaim](c.State, "default", claim)
			if !ok {
				t.Fatalf("%s: there is no claim %s", when, claim)
			}
			var got []string
			for _, o := range pvc.OwnerReferences {
				got = append(got, o.Kind+"/"+o.Name)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %s is owned by %v, want %s", when, claim, got, want)
			}
		}
		owners("retained", "data-db-0", "")
		controllertest.Change(c, "db", func(s *appsv1.StatefulSet) {
			s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
			}
		})
		c.Settle(time.Minute)
		owners("to be deleted", "data-db-0", "StatefulSet/db")
		controllertest.Change(c, "db", scale(1))
		c.Settle(time.Minute)
		owners("scaled down", "data-db-1", "Pod/db-1")
		owners("scaled down", "data-db-0", "StatefulSet/db")
	})
}
