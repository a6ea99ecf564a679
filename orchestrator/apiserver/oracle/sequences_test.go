package oracle

import (
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestSequences lets two clients and two limited users do what comes to their minds with a few objects in a
// namespace, and ends a sequence at the first answer that differs. What was not met before is shrunk.
func TestSequences(t *testing.T) {
	for name, value := range map[string]string{"rapid.checks": "1", "rapid.nofailfile": "true", "rapid.shrinktime": "10s"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	const perRound = 20
	n := 0
	for i := range perRound * *rounds {
		if err := flag.Set("rapid.seed", fmt.Sprint(*seed*1_000_000+uint64(i)+1)); err != nil {
			t.Fatal(err)
		}
		known := pair.Ledger.known()
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				n++
				(&sequence{Case: pair.Case(t.Context()), T: rt, namespace: fmt.Sprintf("seq-%d", n), known: known}).run()
			})
		})
	}
	t.Logf("%d sequences", n)
}

type sequence struct {
	*Case
	*rapid.T
	namespace string
	known     map[string]bool
	over      bool
	replicas  int
}

const steps = 25

func (s *sequence) run() {
	if err := s.Namespace(s.namespace); err != nil {
		s.Fatal(err)
	}
	if err := s.permit(); err != nil {
		s.Fatal(err)
	}
	s.do(Request{Method: "GET", Path: s.path("configmaps", "")})
	s.Mark("of the beginning")
	actions := []func(){
		s.create, s.create, s.create, s.create, s.put, s.put, s.patch, s.patch, s.patch, s.apply, s.apply, s.apply,
		s.status, s.bind, s.evict, s.delete, s.delete, s.deleteMany, s.get, s.list, s.scale,
	}
	for range rapid.IntRange(5, steps).Draw(s.T, "steps") {
		if s.over {
			return
		}
		actions[rapid.IntRange(0, len(actions)-1).Draw(s.T, "action")]()
	}
	s.watch()
}

// do asks; the first difference ends the sequence, and fails it if it is new.
func (s *sequence) do(r Request) Both {
	if s.over {
		return Both{}
	}
	both, err := s.Ask(r)
	if err != nil {
		s.Fatal(err)
	}
	for _, cause := range s.causes {
		s.over = true
		if !s.known[cause] {
			s.Fatalf("answered differently:\n%s", strings.Join(s.steps, "\n"))
		}
	}
	return both
}

// resources are what the sequences are about.
var resources = map[string]string{
	"configmaps": "/api/v1", "secrets": "/api/v1", "pods": "/api/v1", "services": "/api/v1", "serviceaccounts": "/api/v1",
	"deployments": "/apis/apps/v1", "replicasets": "/apis/apps/v1", "poddisruptionbudgets": "/apis/policy/v1",
	"leases": "/apis/coordination.k8s.io/v1",
}

var kindsOf = map[string][2]string{
	"configmaps": {"v1", "ConfigMap"}, "secrets": {"v1", "Secret"}, "pods": {"v1", "Pod"}, "services": {"v1", "Service"}, "serviceaccounts": {"v1", "ServiceAccount"},
	"deployments": {"apps/v1", "Deployment"}, "replicasets": {"apps/v1", "ReplicaSet"}, "poddisruptionbudgets": {"policy/v1", "PodDisruptionBudget"},
	"leases": {"coordination.k8s.io/v1", "Lease"},
}

const pods = `"containers":[{"name":"c","image":"i"}]`

var specs = map[string][]string{
	"configmaps": {`"data":{"a":"1"}`, `"data":{"a":"2","b":"1"}`, `"immutable":true`},
	"secrets":    {`"stringData":{"a":"1"}`, `"data":{"b":"eA=="}`},
	"pods": {`"spec":{` + pods + `}`, `"spec":{"nodeName":"n",` + pods + `}`, `"spec":{"terminationGracePeriodSeconds":5,"nodeName":"n",` + pods + `}`,
		`"spec":{"schedulingGates":[{"name":"x.io/g"}],` + pods + `}`},
	"services":        {`"spec":{"ports":[{"port":80}]}`, `"spec":{"type":"NodePort","ports":[{"port":80}]}`, `"spec":{"clusterIP":"None"}`},
	"serviceaccounts": {`"automountServiceAccountToken":false`, `"secrets":[{"name":"s"}]`},
	"deployments": {`"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{` + pods + `}}}`,
		`"spec":{"strategy":{"type":"Recreate"},"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{` + pods + `}}}`},
	"replicasets":          {`"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{` + pods + `}}}`},
	"poddisruptionbudgets": {`"spec":{"maxUnavailable":0,"selector":{"matchLabels":{"l":"x"}}}`, `"spec":{"minAvailable":"50%","selector":{}}`},
	"leases":               {`"spec":{"holderIdentity":"a","leaseDurationSeconds":3}`, `"spec":{"holderIdentity":"b"}`},
}

func oneOf[T any](s *sequence, what string, values ...T) T {
	return values[rapid.IntRange(0, len(values)-1).Draw(s.T, what)]
}

func (s *sequence) resource() string {
	return oneOf(s, "resource", "configmaps", "configmaps", "pods", "pods", "secrets", "services", "serviceaccounts", "deployments", "deployments", "replicasets", "poddisruptionbudgets", "leases")
}

func (s *sequence) name() string { return oneOf(s, "name", "a", "b", "c") }

func (s *sequence) path(resource, name string) string {
	p := resources[resource] + "/namespaces/" + s.namespace + "/" + resource
	if name != "" {
		p += "/" + name
	}
	return p
}

// as adds who asks: mostly the administrator.
func (s *sequence) as(r Request) Request {
	if r.Header == nil {
		r.Header = map[string]string{}
	}
	r.Header["User-Agent"] = oneOf(s, "client", "one", "two") + "/1"
	if user := oneOf(s, "user", "", "", "", "", "", "reader", "writer"); user != "" && impersonates(s.Case) {
		r.Header["Impersonate-User"] = user
	}
	return r
}

// impersonates says whether ours knows impersonation.
func impersonates(c *Case) bool {
	a, err := c.pair.Ours.Do(c.ctx, Request{Method: "GET", Path: "/api/v1/nodes", Header: map[string]string{"Impersonate-User": "nobody"}})
	return err == nil && a.Status == http.StatusForbidden
}

// permit gives the limited users their rights.
func (s *sequence) permit() error {
	if !impersonates(s.Case) {
		return nil
	}
	base := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + s.namespace
	for user, verbs := range map[string]string{"reader": `["get","list","watch"]`, "writer": `["create","update","patch","delete"]`} {
		role := fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":%q},"rules":[{"apiGroups":["","apps"],"resources":["configmaps","pods","deployments"],"verbs":%s}]}`, user, verbs)
		binding := fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":%[1]q},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":%[1]q},"subjects":[{"kind":"User","name":%[1]q}]}`, user)
		if err := s.prepare(base+"/roles", role); err != nil {
			return err
		}
		if err := s.prepare(base+"/rolebindings", binding); err != nil {
			return err
		}
	}
	return nil
}

// object is one of the resource as somebody might write it.
func (s *sequence) object(resource, name string) string {
	kind := kindsOf[resource]
	meta := fmt.Sprintf(`"name":%q`, name)
	if label := oneOf(s, "label", "", "x", "y"); label != "" {
		meta += `,"labels":{"l":"` + label + `"}`
	}
	if oneOf(s, "finalizer", 0, 0, 0, 1) == 1 {
		meta += `,"finalizers":["x.io/f"]`
	}
	if owner := oneOf(s, "owner", "", "", "", "a", "b"); owner != "" {
		meta += fmt.Sprintf(`,"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":%q,"uid":"⟨uid ConfigMap %s/%s⟩","blockOwnerDeletion":true}]`, owner, s.namespace, owner)
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{%s},%s}`, kind[0], kind[1], meta, oneOf(s, "spec", specs[resource]...))
}

func (s *sequence) dryRun() string { return oneOf(s, "dry", "", "", "", "", "dryRun=All") }

func (s *sequence) create() {
	resource := s.resource()
	s.do(s.as(Request{Method: "POST", Path: s.path(resource, "") + "?" + s.dryRun(), Body: s.object(resource, s.name())}))
}

// put replaces, with the version that it has, an old one or none.
func (s *sequence) put() {
	resource, name := s.resource(), s.name()
	body := s.object(resource, name)
	version := oneOf(s, "version", "", fmt.Sprintf("⟨version of %s %s/%s⟩", kindsOf[resource][1], s.namespace, name),
		fmt.Sprintf("⟨version 1 of %s %s/%s⟩", kindsOf[resource][1], s.namespace, name))
	if version != "" {
		body = strings.Replace(body, `"metadata":{`, `"metadata":{"resourceVersion":"`+version+`",`, 1)
	}
	s.do(s.as(Request{Method: "PUT", Path: s.path(resource, name) + "?" + s.dryRun(), Body: body}))
}

func (s *sequence) patch() {
	resource, name := s.resource(), s.name()
	kind := oneOf(s, "patch type", merge, strategic, jsonPatch)
	body := oneOf(s, "patch", `{"metadata":{"labels":{"l":"x"}}}`, `{"metadata":{"labels":{"l":null}}}`, `{"metadata":{"finalizers":null}}`,
		`{"metadata":{"finalizers":["x.io/f"]}}`, `{"metadata":{"annotations":{"n":"1"}}}`, `{"metadata":{"ownerReferences":null}}`, `{}`)
	if kind == jsonPatch {
		body = oneOf(s, "patch", `[{"op":"add","path":"/metadata/labels","value":{"l":"y"}}]`, `[{"op":"remove","path":"/metadata/finalizers"}]`,
			`[{"op":"test","path":"/metadata/name","value":"a"}]`)
	}
	s.do(s.as(Request{Method: "PATCH", Path: s.path(resource, name) + "?" + s.dryRun(), Header: map[string]string{"Content-Type": kind}, Body: body}))
}

func (s *sequence) apply() {
	resource, name := s.resource(), s.name()
	query := "?fieldManager=" + oneOf(s, "manager", "one", "two") + oneOf(s, "force", "", "", "&force=true") + "&" + s.dryRun()
	s.do(s.as(Request{Method: "PATCH", Path: s.path(resource, name) + query, Header: map[string]string{"Content-Type": apply}, Body: s.object(resource, name)}))
}

func (s *sequence) status() {
	body := oneOf(s, "status", `{"status":{"phase":"Running","podIP":"10.9.9.9","podIPs":[{"ip":"10.9.9.9"}],"conditions":[{"type":"Ready","status":"True"}]}}`,
		`{"status":{"phase":"Succeeded"}}`, `{"status":{"phase":"Failed","reason":"Evicted"}}`)
	s.do(s.as(Request{Method: "PATCH", Path: s.path("pods", s.name()) + "/status", Header: map[string]string{"Content-Type": merge}, Body: body}))
}

func (s *sequence) bind() {
	name := s.name()
	s.do(s.as(Request{Method: "POST", Path: s.path("pods", name) + "/binding",
		Body: fmt.Sprintf(`{"apiVersion":"v1","kind":"Binding","metadata":{"name":%q},"target":{"kind":"Node","name":"n"}}`, name)}))
}

func (s *sequence) evict() {
	name := s.name()
	s.do(s.as(Request{Method: "POST", Path: s.path("pods", name) + "/eviction?" + s.dryRun(),
		Body: fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, name)}))
}

func (s *sequence) delete() {
	resource, name := s.resource(), s.name()
	query := oneOf(s, "how", "", "propagationPolicy=Background", "propagationPolicy=Foreground", "propagationPolicy=Orphan", "gracePeriodSeconds=0", "gracePeriodSeconds=2")
	body := oneOf(s, "preconditions", "", "", "", fmt.Sprintf(`{"preconditions":{"uid":"⟨uid %s %s/%s⟩"}}`, kindsOf[resource][1], s.namespace, name),
		fmt.Sprintf(`{"preconditions":{"resourceVersion":"⟨version 1 of %s %s/%s⟩"}}`, kindsOf[resource][1], s.namespace, name))
	s.do(s.as(Request{Method: "DELETE", Path: s.path(resource, name) + "?" + query, Body: body}))
}

func (s *sequence) deleteMany() {
	resource := oneOf(s, "resource", "configmaps", "secrets", "deployments")
	s.do(s.as(Request{Method: "DELETE", Path: s.path(resource, "") + "?labelSelector=l%3Dx&" + oneOf(s, "how", "", "propagationPolicy=Foreground", "dryRun=All")}))
}

func (s *sequence) get() {
	accept := oneOf(s, "form", "application/json", asTable, "application/vnd.kubernetes.protobuf", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
	s.do(s.as(Request{Method: "GET", Path: s.path(s.resource(), s.name()), Header: map[string]string{"Accept": accept}}))
}

func (s *sequence) list() {
	resource := s.resource()
	query := oneOf(s, "list", "", "labelSelector=l%3Dx", "labelSelector=l+notin+(x)", "fieldSelector=metadata.name%3Da", "limit=1", "limit=2", "limit=1&continue=⟨continue⟩", "resourceVersion=0")
	s.do(s.as(Request{Method: "GET", Path: s.path(resource, "") + "?" + query}))
}

func (s *sequence) scale() {
	at := s.path(oneOf(s, "resource", "deployments", "replicasets"), s.name()) + "/scale"
	s.do(s.as(Request{Method: "PATCH", Path: at, Header: map[string]string{"Content-Type": merge}, Body: fmt.Sprintf(`{"spec":{"replicas":%d}}`, oneOf(s, "replicas", -1, s.scaled()))}))
}

// scaled is another number each time: see life.scale.
func (s *sequence) scaled() int {
	s.replicas++
	return 100 + s.replicas
}

// watch reads what has happened to the ConfigMaps since the beginning, up to an object that is made now.
func (s *sequence) watch() {
	s.do(Request{Method: "POST", Path: s.path("configmaps", ""), Body: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"end","labels":{"l":"x"}}}`})
	selector := oneOf(s, "watch", "", "&labelSelector=l%3Dx")
	s.do(Request{Method: "GET", Until: `"name":"end"`, Path: s.path("configmaps", "") + "?watch=1&timeoutSeconds=3&resourceVersion=⟨version of the beginning⟩" + selector})
}
