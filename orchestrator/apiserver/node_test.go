package apiserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/state"
)

// nodes takes tokens "node-NAME" for nodes, and leaves others to named.
type nodes struct{}

func (nodes) Authenticate(r *http.Request) (*auth.User, error) {
	if name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer node-"); ok {
		return &auth.User{Name: "system:node:" + name, Groups: []string{"system:nodes", auth.GroupAuthenticated}}, nil
	}
	return named{}.Authenticate(r)
}

// twoNodes is a cluster with the nodes a and b and a pod on each: on-a names what ends in -a.
func twoNodes(t *testing.T) (*cluster, map[string]*corev1.Pod) {
	c := start(t, func(cfg *apiserver.Config) { cfg.Authenticator = nodes{} })
	c.defaultRoles()
	create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}})
	made := map[string]*corev1.Pod{}
	for _, node := range []string{"a", "b"} {
		create(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}})
		create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "account-" + node}})
		for _, kind := range []string{"env", "vol", "pull", "init", "pv"} {
			create(c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: kind + "-" + node}})
		}
		create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "map-" + node}})
		p := newPod("on-" + node)
		p.Namespace = "default"
		p.Spec.NodeName, p.Spec.ServiceAccountName = node, "account-"+node
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull-" + node}}
		ref := corev1.LocalObjectReference{Name: "env-" + node}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref, Key: "k"}}}}
		init := *p.Spec.Containers[0].DeepCopy()
		init.Name, init.Env = "first", nil
		init.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "init-" + node}}}}
		p.Spec.InitContainers = []corev1.Container{init}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol-" + node}}},
			{Name: "m", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map-" + node}}}},
			{Name: "c", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim-" + node}}},
			{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", Path: "t"}}}}}},
		}
		create(c, p)
		made[node], _ = state.Get[*corev1.Pod](c.state, "default", p.Name)
		resources := corev1.ResourceList{corev1.ResourceStorage: quantity.MustParse("1Gi")}
		modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		create(c, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "claim-" + node},
			Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + node, AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: resources}}})
		create(c, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + node}, Spec: corev1.PersistentVolumeSpec{
			AccessModes: modes, Capacity: resources, ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "claim-" + node},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "h",
				NodePublishSecretRef: &corev1.SecretReference{Namespace: "default", Name: "pv-" + node}}}}})
	}
	return c, made
}

// asked is one request and what comes of it.
type asked struct {
	method, path, body string
	code               int
	want               string // in the message of a refusal
}

func (c *cluster) story(who string, all ...asked) {
	c.t.Helper()
	for _, one := range all {
		content := contentJSON
		if one.method == "PATCH" {
			content = contentMerge
		}
		a := c.as(who, one.method, one.path, one.body, content)
		var status metav1.Status
		if a.StatusCode >= 400 {
			if err := json.Unmarshal([]byte(a.body), &status); err != nil {
				c.t.Fatal(err)
			}
		}
		if a.StatusCode != one.code || !strings.Contains(status.Message, one.want) {
			c.t.Errorf("%s %s %s %.200s: %d %s\nwant %d %s", who, one.method, one.path, one.body, a.StatusCode, status.Message, one.code, one.want)
		}
	}
}

func TestNodesReadWhatTheirPodsName(t *testing.T) {
	c, _ := twoNodes(t)
	unrelated := "no relationship found between node 'a' and this object"
	refused := func(path, why string) asked { return asked{"GET", path, "", 403, why} }
	ok := func(path string) asked { return asked{"GET", path, "", 200, ""} }
	for _, kind := range []string{"env", "vol", "pull", "init", "pv"} {
		c.story("node-a", ok(inDefault+"secrets/"+kind+"-a"), refused(inDefault+"secrets/"+kind+"-b", unrelated),
			ok(inDefault+"secrets?fieldSelector=metadata.name%3D"+kind+"-a"), refused(inDefault+"secrets?fieldSelector=metadata.name%3D"+kind+"-b", unrelated))
	}
	c.story("node-a",
		refused(inDefault+"secrets", "No Object name found"), refused("/api/v1/secrets", "can only read namespaced object of this type"),
		asked{"DELETE", inDefault + "secrets/env-a", "", 403, "can only read resources of this type"},
		ok(inDefault+"configmaps/map-a"), refused(inDefault+"configmaps/map-b", unrelated),
		ok(inDefault+"persistentvolumeclaims/claim-a"), refused(inDefault+"persistentvolumeclaims/claim-b", unrelated),
		refused(inDefault+"persistentvolumeclaims", "can only get individual resources of this type"),
		ok("/api/v1/persistentvolumes/pv-a"), refused("/api/v1/persistentvolumes/pv-b", unrelated),
		ok(inDefault+"serviceaccounts/account-a"), refused(inDefault+"serviceaccounts/account-b", unrelated),
		ok(inDefault+"pods/on-a"), refused(inDefault+"pods/on-b", unrelated),
		refused("/api/v1/pods", "can only list/watch pods with spec.nodeName field selector"),
		ok("/api/v1/pods?fieldSelector=spec.nodeName%3Da"), refused("/api/v1/pods?fieldSelector=spec.nodeName%3Db", "can only list/watch"),
		ok("/api/v1/nodes/a"), refused("/api/v1/nodes/b", "node 'a' cannot read 'b', only its own Node object"),
		refused("/api/v1/nodes", "node 'a' cannot read all nodes, only its own Node object"),
		ok("/api/v1/services"), refused("/api/v1/namespaces", ""), refused(inDefault+"pods/on-a/log", ""),
	)
	c.story("node-none", refused(inDefault+"secrets/env-a", "no relationship found between node 'none' and this object"))
	review := c.as("node-a", "POST", accessReviews+"selfsubjectrulesreviews", `{"spec":{"namespace":"default"}}`)
	if !strings.Contains(review.body, `"incomplete":true,"evaluationError":"node authorizer does not support user rule resolution"`) {
		t.Error(review.body)
	}
}

func TestNodesWriteTheirOwn(t *testing.T) {
	c, made := twoNodes(t)
	leases := "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	named := func(name string) string { return `{"metadata":{"name":"` + name + `"}}` }
	status := `{"status":{"phase":"Running"}}`
	evict := func(name string) string {
		return `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"` + name + `"}}`
	}
	c.story("node-a",
		asked{"POST", leases, named("a"), 201, ""}, asked{"POST", leases, named("b"), 403, "can only access node lease with the same name as the requesting node"},
		asked{"GET", leases + "/b", "", 403, "can only access node lease with the same name"},
		asked{"PATCH", leases + "/a", `{"spec":{"holderIdentity":"a"}}`, 200, ""},
		asked{"POST", "/apis/storage.k8s.io/v1/csinodes", `{"metadata":{"name":"b"},"spec":{"drivers":[]}}`, 403, "can only access CSINode with the same name as the requesting node"},
		asked{"POST", "/apis/storage.k8s.io/v1/csinodes", `{"metadata":{"name":"a"},"spec":{"drivers":[]}}`, 201, ""},

		asked{"PATCH", "/api/v1/nodes/a/status", `{"status":{"capacity":{"pods":"5"}}}`, 200, ""},
		asked{"PATCH", "/api/v1/nodes/b/status", `{"status":{"capacity":{"pods":"5"}}}`, 403, `node "a" is not allowed to modify node "b"`},
		asked{"PATCH", "/api/v1/nodes/a", `{"metadata":{"labels":{"mine":"x","kubernetes.io/hostname":"a","node.kubernetes.io/x":"y"}}}`, 200, ""},
		asked{"PATCH", "/api/v1/nodes/a", `{"metadata":{"labels":{"node-restriction.kubernetes.io/x":"y"}}}`, 403, "is not allowed to modify labels: node-restriction.kubernetes.io/x"},
		asked{"PATCH", "/api/v1/nodes/a", `{"metadata":{"labels":{"kubernetes.io/role":"y","x.k8s.io/z":"y"}}}`, 403, "is not allowed to modify labels: kubernetes.io/role, x.k8s.io/z"},
		asked{"PATCH", "/api/v1/nodes/a", `{"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}}`, 403, `node "a" is not allowed to modify taints`},
		asked{"PATCH", "/api/v1/nodes/a", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"u"}]}}`, 403, `node "a" is not allowed to modify ownerReferences`},
		asked{"DELETE", "/api/v1/nodes/a", "", 403, ""},

		asked{"PATCH", inDefault + "pods/on-a/status", status, 200, ""},
		asked{"PATCH", inDefault + "pods/on-b/status", status, 403, `node "a" can only update pod status for pods with spec.nodeName set to itself`},
		asked{"PATCH", inDefault + "pods/on-a/status", `{"metadata":{"labels":{"x":"y"}}}`, 403, `node "a" cannot update labels through pod status`},
		asked{"PATCH", inDefault + "pods/on-a", `{"metadata":{"labels":{"x":"y"}}}`, 403, ""},
		asked{"POST", inDefault + "pods/on-b/eviction", evict("on-b"), 403, "node a can only evict pods with spec.nodeName set to itself"},
		asked{"DELETE", inDefault + "pods/on-b", "", 403, `node "a" can only delete pods with spec.nodeName set to itself`},
		asked{"POST", inDefault + "pods/on-a/binding", `{"target":{"name":"a"}}`, 403, ""},

		asked{"PATCH", inDefault + "persistentvolumeclaims/claim-a/status", `{"status":{"capacity":{"storage":"2Gi"}}}`, 200, ""},
		asked{"PATCH", inDefault + "persistentvolumeclaims/claim-a/status", `{"status":{"phase":"Lost"}}`, 403, "is not allowed to update fields other than status.quantity and status.conditions"},
		asked{"PATCH", inDefault + "persistentvolumeclaims/claim-b/status", `{"status":{"capacity":{"storage":"2Gi"}}}`, 403, "no relationship found"},
	)
	token := func(pod, uid string, audiences ...string) string {
		r := authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		if pod != "" {
			r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: made["a"].UID}
			if uid != "" {
				r.Spec.BoundObjectRef.UID = made[uid].UID
			}
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tokens := inDefault + "serviceaccounts/account-a/token"
	c.story("node-a",
		asked{"POST", inDefault + "serviceaccounts/account-b/token", token("on-b", "b", "vault"), 403, "no relationship found"},
		asked{"POST", tokens, token("", ""), 403, "node requested token not bound to a pod"},
		asked{"POST", tokens, token("on-b", "b", "vault"), 403, "node requested token bound to a pod scheduled on a different node"},
		asked{"POST", tokens, token("on-a", "b", "vault"), 403, "the UID in the bound object reference"},
		asked{"POST", tokens, token("on-a", "a", "bank"), 403, `audience "bank" not found in pod spec volume, system:node:a is not authorized to request tokens for this audience`},
		asked{"POST", tokens, token("on-a", "a", "bank", "vault"), 403, "node may only request 0 or 1 audiences"},
	)
	c.story("node-a", asked{"POST", inDefault + "pods/on-a/eviction", evict("on-a"), 201, ""}, asked{"DELETE", inDefault + "pods/on-a?gracePeriodSeconds=0", "", 200, ""})
}

func TestMirrorPods(t *testing.T) {
	c, _ := twoNodes(t)
	node := c.ask("GET", "/api/v1/nodes/a", "")
	var got corev1.Node
	if err := json.Unmarshal([]byte(node.body), &got); err != nil {
		t.Fatal(err)
	}
	pod := func(name string, change func(*corev1.Pod)) string {
		yes := true
		p := newPod(name)
		p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "a", UID: got.UID, Controller: &yes}}
		p.Spec.NodeName, p.Spec.ServiceAccountName = "a", ""
		if change != nil {
			change(p)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	c.story("node-a", asked{"POST", inDefault + "pods", pod("m", nil), 201, ""})
	for i, test := range []struct {
		change func(*corev1.Pod)
		want   string
	}{
		{func(p *corev1.Pod) { p.Annotations = nil }, `pod does not have "kubernetes.io/config.mirror" annotation, node "a" can only create mirror pods`},
		{func(p *corev1.Pod) { p.Spec.NodeName = "b" }, `node "a" can only create pods with spec.nodeName set to itself`},
		{func(p *corev1.Pod) { p.OwnerReferences = nil }, `node "a" can only create pods with an owner reference set to itself`},
		{func(p *corev1.Pod) { p.OwnerReferences[0].UID = "u" }, `node a UID mismatch: expected u got `},
		{func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }, `controller owner reference set to itself`},
		{func(p *corev1.Pod) { p.Spec.ServiceAccountName = "account-b" }, `a mirror pod may not reference service accounts`},
		{func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "env-b"}} }, `a mirror pod may not reference secrets`},
		{func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map-b"}}}}}
		}, `node "a" can not create pods that reference configmaps`},
	} {
		c.story("node-a", asked{"POST", inDefault + "pods", pod(fmt.Sprint("m", i), test.change), 403, test.want})
	}
}
