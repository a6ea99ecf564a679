package main_test

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"

	"wherry/cmd/wherryd/clustertest"
	"wherry/wasm/wasmtest"
)

// Stories of whole clusters, in virtual time.

// web is a Deployment of containers that run until they are stopped.
func web(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:v1"}}},
			},
		},
	}
}

// deploy creates the Deployment and waits until all of it is available.
func deploy(t *testing.T, c *clustertest.Cluster, d *appsv1.Deployment) {
	t.Helper()
	if _, err := c.Client.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Await("the deployment is available", time.Minute, func() bool { return available(t, c, *d.Spec.Replicas) })
}

// available says whether the Deployment has that many pods, all available, and none else.
func available(t *testing.T, c *clustertest.Cluster, n int32) bool {
	t.Helper()
	d, err := c.Client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := d.Status
	return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == n && s.AvailableReplicas == n && s.Replicas == n
}

func pods(t *testing.T, c *clustertest.Cluster) []corev1.Pod {
	t.Helper()
	list, err := c.Client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// lives is each running pod's uid, node, restarts and the start of its containers, in order: who stays the same lives on.
func lives(t *testing.T, c *clustertest.Cluster) []string {
	t.Helper()
	var all []string
	for _, p := range pods(t, c) {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running == nil {
				continue
			}
			all = append(all, fmt.Sprintf("%s on %s, %d restarts, %s, since %s", p.UID, p.Spec.NodeName, s.RestartCount, s.ContainerID, s.State.Running.StartedAt.UTC()))
		}
	}
	slices.Sort(all)
	return all
}

// unharmed fails unless everything that lived still does, and nothing else.
func unharmed(t *testing.T, c *clustertest.Cluster, before []string) {
	t.Helper()
	want(t, "lives", lives(t, c), before...)
	if len(before) == 0 {
		t.Error("nothing lived before")
	}
}

// starts counts what the fake runtime was asked to start.
func starts(n *clustertest.Node) (count int) {
	for _, call := range n.Machine.Calls() {
		if strings.HasPrefix(call, "start ") {
			count++
		}
	}
	return count
}

func TestRollOutAndAnswer(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		nodes := []*clustertest.Node{c.WasmNode("n1"), c.WasmNode("n2")}
		c.Push("echo:v1", wasmtest.Echo())
		d := web(2)
		container := &d.Spec.Template.Spec.Containers[0]
		container.Image = "echo:v1"
		noToken := false // the guest takes its listener to be its first descriptor, before any directory
		d.Spec.Template.Spec.AutomountServiceAccountToken = &noToken
		container.Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
		deploy(t, c, d)
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web"},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Selector: d.Spec.Selector.MatchLabels,
				Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080), NodePort: 30080}},
			},
		}
		if _, err := c.Client.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			c.Await("an answer of "+n.Name, 10*time.Second, func() bool { return ask(c, n.IP+":30080", "ahoy") == "ahoy" })
		}
		// Each node reaches the pods of both.
		for range 8 {
			if got := ask(c, nodes[0].IP+":30080", "wherry"); got != "wherry" {
				t.Errorf("got %q", got)
			}
		}
	})
}

// ask says a word to a server, and returns its answer.
func ask(c *clustertest.Cluster, address, word string) string {
	conn, err := c.Dial(address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	fmt.Fprintln(conn, word)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(answer, "\n")
}

func TestScaleAndRollOn(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		c.Node("n1")
		c.Node("n2")
		deploy(t, c, web(2))
		for _, n := range []int32{6, 1, 0, 3} {
			scale(t, c, n)
		}
		d, err := c.Client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.Spec.Template.Spec.Containers[0].Image = "web:v2"
		if _, err := c.Client.AppsV1().Deployments("default").Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Await("the new version", 2*time.Minute, func() bool { return available(t, c, 3) && len(pods(t, c)) == 3 })
		for _, p := range pods(t, c) {
			if image := p.Status.ContainerStatuses[0].Image; image != "web:v2" {
				t.Errorf("%s runs %s", p.Name, image)
			}
		}
	})
}

func scale(t *testing.T, c *clustertest.Cluster, n int32) {
	t.Helper()
	deployments := c.Client.AppsV1().Deployments("default")
	s, err := deployments.GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Spec.Replicas = n
	if _, err := deployments.UpdateScale(t.Context(), "web", s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Await(fmt.Sprintf("%d replicas", n), 2*time.Minute, func() bool { return available(t, c, n) && len(pods(t, c)) == int(n) })
}

func TestLinkCutAndHealedRestartsNothing(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		c.Node("n1")
		far := c.Node("n2")
		deploy(t, c, web(4))
		before := lives(t, c)
		for range 3 {
			far.Cut(true)
			time.Sleep(3 * time.Minute)
			far.Cut(false)
			c.Await("the node is back", time.Minute, func() bool { return c.Ready("n2") == corev1.ConditionTrue })
			time.Sleep(time.Minute)
			unharmed(t, c, before)
		}
	})
}

func TestServerRestartsUnnoticed(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		n := c.Node("n1")
		deploy(t, c, web(3))
		before, begun := lives(t, c), starts(n)
		for name, stop := range map[string]func(){"stopped": c.StopServer, "crashed": c.CrashServer} {
			version := mark(t, c, name)
			missed := mark(t, c, name+"-missed")
			stop()
			time.Sleep(2 * time.Minute)
			c.StartServer()
			if after := mark(t, c, name+"-after"); after <= missed {
				t.Errorf("%s: resourceVersion %d after %d", name, after, missed)
			}
			w, err := c.Client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: strconv.Itoa(version)})
			if err != nil {
				t.Fatal(err)
			}
			want(t, "the watch goes on", nextNames(w, 2), name+"-missed", name+"-after")
			w.Stop()
			time.Sleep(time.Minute)
			unharmed(t, c, before)
			if now := starts(n); now != begun || c.Ready("n1") != corev1.ConditionTrue {
				t.Errorf("%s: %d containers were started; the node is ready: %s", name, now-begun, c.Ready("n1"))
			}
		}
		scale(t, c, 5) // it goes on
	})
}

// mark creates an object and returns its resourceVersion.
func mark(t *testing.T, c *clustertest.Cluster, name string) int {
	t.Helper()
	m, err := c.Client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	version, err := strconv.Atoi(m.ResourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// nextNames are the names of the next n objects of a watch.
func nextNames(w watch.Interface, n int) (names []string) {
	for range n {
		e, ok := <-w.ResultChan()
		if !ok {
			return append(names, "the watch has ended")
		}
		if m, ok := e.Object.(metav1.Object); ok {
			names = append(names, m.GetName())
		} else {
			names = append(names, fmt.Sprintf("%s %v", e.Type, e.Object))
		}
	}
	return names
}

func TestAgentRestartsUnnoticed(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		n := c.Node("n1")
		deploy(t, c, web(3))
		before, begun := lives(t, c), starts(n)
		for range 2 {
			n.Stop()
			time.Sleep(20 * time.Second)
			n.Start()
			time.Sleep(time.Minute)
			unharmed(t, c, before)
			if now := starts(n); now != begun || !available(t, c, 3) {
				t.Errorf("%d containers were started; all available: %t", now-begun, available(t, c, 3))
			}
		}
		scale(t, c, 4) // it goes on
	})
}

// An API that stands alone stores what is written, and nothing follows from it until controllers run.
func TestAnAPIAloneActsOnNothing(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		c.StopServer()
		c.APIOnly = true
		c.StartServer()
		if _, err := c.Client.AppsV1().Deployments("default").Create(t.Context(), web(1), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // virtual
		if got := pods(t, c); len(got) != 0 {
			t.Errorf("pods were made: %v", got)
		}
		c.StopServer()
		c.APIOnly = false
		c.StartServer()
		c.Await("a controller makes the pod", time.Minute, func() bool { return len(pods(t, c)) == 1 })
	})
}

func TestANodesDeathMovesItsPods(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		c.Node("n1")
		dead := c.Node("n2")
		deploy(t, c, web(4))
		dead.Cut(true)
		c.Await("the node is unknown", 2*time.Minute, func() bool { return c.Ready("n2") == corev1.ConditionUnknown })
		c.Await("the node is tainted", time.Minute, func() bool { return tainted(t, c, "n2") })
		unknown := time.Now()
		c.Await("the pods have moved", 7*time.Minute, func() bool { return available(t, c, 4) && alive(t, c, "n1") == 4 })
		if took := time.Since(unknown); took < 4*time.Minute {
			t.Errorf("the pods moved after %v, not after their toleration", took)
		}
		dead.Cut(false)
		c.Await("the node is back and empty", 2*time.Minute, func() bool {
			return c.Ready("n2") == corev1.ConditionTrue && !tainted(t, c, "n2") && len(pods(t, c)) == 4
		})
	})
}

func tainted(t *testing.T, c *clustertest.Cluster, name string) bool {
	t.Helper()
	n, err := c.Client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute
	})
}

// alive counts the ready pods of a node that nobody has deleted.
func alive(t *testing.T, c *clustertest.Cluster, node string) (count int) {
	t.Helper()
	for _, p := range pods(t, c) {
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if p.Spec.NodeName == node && p.DeletionTimestamp == nil && ready {
			count++
		}
	}
	return count
}
