package apiserver_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/customresource"
	"wherry/orchestrator/controller/garbage"
	"wherry/orchestrator/conversion"
	"wherry/orchestrator/reach"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
)

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// boatsDefinition defines boats. Its versions are what the test makes of them.
func boatsDefinition(versions ...string) string {
	return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt], categories: [all, fleet]}
  versions:
` + strings.Join(versions, "")
}

const boatV1 = `
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.oars, statusReplicasPath: .status.oars, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.hull}]
    additionalPrinterColumns:
    - {name: Hull, type: string, jsonPath: .spec.hull}
    - {name: Oars, type: integer, jsonPath: .spec.oars, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        description: A Boat floats.
        properties:
          spec:
            type: object
            required: [hull]
            x-kubernetes-validations:
            - {rule: "self.oars % 2 == 0", message: oars come in pairs, fieldPath: .oars}
            properties:
              hull:
                type: string
                enum: [steel, wood]
                x-kubernetes-validations: [{rule: "self == oldSelf", message: a hull cannot be changed, reason: FieldValueForbidden}]
              oars: {type: integer, minimum: 0, maximum: 8, default: 2}
              length: {x-kubernetes-int-or-string: true}
              cargo: {type: object, x-kubernetes-preserve-unknown-fields: true}
              crew:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, age: {type: integer}}
              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              template: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties: {oars: {type: integer}, selector: {type: string}}
`

// crds is a cluster with what makes CustomResourceDefinitions work.
type crds struct{ *cluster }

func startCRDs(t *testing.T, over store.Store, convert resource.Conversion) crds {
	t.Helper()
	c := crds{startWith(t, over, resource.NewWith(resource.Options{Convert: convert}))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- controller.Run(ctx, c.state, slog.New(slog.DiscardHandler), nil, customresource.New(c.state), garbage.New(c.state))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
	return c
}

// post creates from YAML.
func (c crds) post(path, text string, headers ...string) answer {
	c.t.Helper()
	return c.ask(http.MethodPost, path, text, append(headers, "Content-Type: application/yaml")...)
}

// define creates a definition and waits until it is served.
func (c crds) define(text string) {
	c.t.Helper()
	if a := c.post(definitions, text); a.StatusCode != http.StatusCreated {
		c.t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal([]byte(text), &crd); err != nil {
		c.t.Fatal(err)
	}
	c.until("it is established", func() bool {
		now, ok := state.Get[*apiextensionsv1.CustomResourceDefinition](c.state, "", crd.Name)
		return ok && resource.CRDIs(now, apiextensionsv1.Established)
	})
}

// until waits for a change of definitions, or of the kinds, that makes something true.
func (c crds) until(what string, is func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	kind, _ := c.state.Kinds().For((*apiextensionsv1.CustomResourceDefinition)(nil))
	w, err := c.state.Watch(ctx, kind, state.WatchOptions{Initial: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Close()
	for !is() {
		if _, _, err := w.Next(ctx); err != nil {
			c.t.Fatalf("waiting until %s: %v", what, err)
		}
	}
}

// expect fails unless the answer has the status and holds all texts.
func expect(t *testing.T, what string, a answer, status int, texts ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s: no %q in %s", what, text, a.body)
		}
	}
}

func at(names ...string) string {
	return "/apis/example.org/v1/namespaces/default/boats" + strings.Join(append([]string{""}, names...), "/")
}

func boat(name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"example.org/v1","kind":"Boat","metadata":{"name":%q},"spec":%s}`, name, spec)
}

func TestCustomObjects(t *testing.T) {
	c := startCRDs(t, memstore.New(), nil)
	c.define(boatsDefinition(boatV1))
	post := func(name, spec, query string) answer {
		return c.ask(http.MethodPost, at()+query, boat(name, spec), "Content-Type: application/json")
	}
	expect(t, "defaults", post("a", `{"hull":"steel","length":"12m","cargo":{"coal":{"t":3}}}`, ""), 201,
		`"oars":2`, `"length":"12m"`, `"coal":{"t":3}`, `"generation":1`, `"manager":"test"`)
	expect(t, "a wrong value", post("b", `{"hull":"glass"}`, ""), 422, `spec.hull: Unsupported value: \"glass\": supported values: \"steel\", \"wood\"`,
		`some validation rules were not checked`)
	expect(t, "a missing field", post("b", `{}`, ""), 422, `spec.hull: Required value`)
	expect(t, "a rule", post("b", `{"hull":"wood","oars":3}`, ""), 422, `spec.oars: Invalid value: `, `oars come in pairs`)
	expect(t, "a wrong type", post("b", `{"hull":"wood","oars":"four"}`, ""), 422, `spec.oars: Invalid value: \"string\": spec.oars in body must be of type integer`)
	expect(t, "twice in a set", post("b", `{"hull":"wood","tags":["x","x"]}`, ""), 422, `spec.tags[1]: Duplicate value: \"x\"`)
	expect(t, "twice in a map", post("b", `{"hull":"wood","crew":[{"name":"Bo"},{"name":"Bo"}]}`, ""), 422, `spec.crew[1]: Duplicate value`)
	expect(t, "an embedded object", post("b", `{"hull":"wood","template":{"metadata":{}}}`, ""), 422, `spec.template.kind: Required value`, `spec.template.apiVersion: Required value`)
	expect(t, "another kind", c.ask(http.MethodPost, at(), `{"apiVersion":"example.org/v1","kind":"Ship","metadata":{"name":"x"},"spec":{"hull":"wood"}}`), 422, `kind: Invalid value: \"Ship\": must be Boat`)
	expect(t, "another version", c.ask(http.MethodPost, at(), `{"apiVersion":"example.org/v2","kind":"Boat","metadata":{"name":"x"}}`), 400,
		`the API version in the data (example.org/v2) does not match the expected API version (example.org/v1)`)

	strict := post("b", `{"hull":"wood","sail":1,"sail":2}`, "?fieldValidation=Strict")
	expect(t, "Strict", strict, 400, `strict decoding error: duplicate field \"spec.sail\", unknown field \"spec.sail\"`)
	warned := post("b", `{"hull":"wood","sail":1}`, "?fieldValidation=Warn")
	expect(t, "Warn", warned, 201)
	if w := warned.Header.Values("Warning"); len(w) != 1 || !strings.Contains(w[0], `unknown field \"spec.sail\"`) {
		t.Errorf("warnings: %q", w)
	}
	if strings.Contains(warned.body, `"sail":`) {
		t.Errorf("not pruned: %s", warned.body)
	}
	ignored := post("i", `{"hull":"wood","sail":1}`, "?fieldValidation=Ignore")
	if w := ignored.Header.Values("Warning"); ignored.StatusCode != 201 || len(w) > 0 {
		t.Errorf("Ignore: %d %q", ignored.StatusCode, w)
	}

	merge := func(name, patch string, more ...string) answer {
		return c.ask(http.MethodPatch, at(append([]string{name}, more...)...), patch, "Content-Type: application/merge-patch+json")
	}
	expect(t, "a transition rule", merge("a", `{"spec":{"hull":"wood"}}`), 422, `spec.hull: Forbidden: a hull cannot be changed`)
	expect(t, "a change", merge("a", `{"spec":{"oars":4}}`), 200, `"oars":4`, `"generation":2`)
	expect(t, "metadata is no generation", merge("a", `{"metadata":{"labels":{"x":"y"}}}`), 200, `"generation":2`)
	expect(t, "the status by the main door", merge("a", `{"status":{"oars":1}}`), 200, `"generation":2`)
	if a := c.ask(http.MethodGet, at("a"), ""); strings.Contains(a.body, `"status":`) {
		t.Errorf("the status was written: %s", a.body)
	}
	expect(t, "the status by its own", merge("a", `{"status":{"oars":4,"selector":"a=b"},"spec":{"oars":8}}`, "status"), 200, `"oars":4`, `"generation":2`)
	expect(t, "scale", c.ask(http.MethodGet, at("a", "scale"), ""), 200, `"kind":"Scale"`, `"replicas":4`, `"selector":"a=b"`)
	expect(t, "scaling", merge("a", `{"spec":{"replicas":6}}`, "scale"), 200, `"spec":{"replicas":6}`)
	expect(t, "scaling against a rule", merge("a", `{"spec":{"replicas":5}}`, "scale"), 422, "oars come in pairs")
	expect(t, "scaling below nothing", merge("a", `{"spec":{"replicas":-2}}`, "scale"), 422, `Boat.example.org \"a\" is invalid`, ".spec.oars: Invalid value: -2: should be a non-negative integer")
	expect(t, "scaled", c.ask(http.MethodGet, at("a"), ""), 200, `"oars":6`, `"generation":3`)

	expect(t, "a strategic patch", c.ask(http.MethodPatch, at("a"), `{}`, "Content-Type: application/strategic-merge-patch+json"), 415,
		"application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
	expect(t, "protobuf", c.ask(http.MethodGet, at("a"), "", "Accept: application/vnd.kubernetes.protobuf"), 406)
	expect(t, "protobuf or JSON", c.ask(http.MethodGet, at("a"), "", "Accept: application/vnd.kubernetes.protobuf, application/json"), 200, `"kind":"Boat"`)
	expect(t, "metadata as protobuf", c.ask(http.MethodGet, at("a"), "", "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), 200, "k8s\x00")
	expect(t, "a table", c.ask(http.MethodGet, at(), "", "Accept: application/json;as=Table;g=meta.k8s.io;v=v1"), 200,
		`{"name":"Oars","type":"integer","format":"","description":"Custom resource definition column (in JSONPath format): .spec.oars","priority":1}`, `"cells":["a","steel",6]`)
	expect(t, "selected", c.ask(http.MethodGet, at()+"?fieldSelector=spec.hull%3Dsteel", ""), 200, `"kind":"BoatList"`, `"name":"a"`)
	if a := c.ask(http.MethodGet, at()+"?fieldSelector=spec.hull%3Dsteel", ""); strings.Contains(a.body, `"name":"b"`) {
		t.Errorf("selected too much: %s", a.body)
	}
	expect(t, "not selectable", c.ask(http.MethodGet, at()+"?fieldSelector=spec.oars%3D2", ""), 400, "field label not supported: spec.oars")
	expect(t, "options of its own group", c.ask(http.MethodDelete, at("i"), `{"kind":"DeleteOptions","apiVersion":"example.org/v1","preconditions":{"uid":"no"}}`), 409)
	expect(t, "deleted", c.ask(http.MethodDelete, at("i"), ""), 200, `"status":"Success"`)
}

func TestCustomObjectsAreApplied(t *testing.T) {
	c := startCRDs(t, memstore.New(), nil)
	c.define(boatsDefinition(boatV1))
	apply := func(manager, spec string) answer {
		return c.ask(http.MethodPatch, at("a")+"?fieldManager="+manager, boat("a", spec), "Content-Type: application/apply-patch+yaml")
	}
	expect(t, "created", apply("one", `{"hull":"wood","crew":[{"name":"Ann","age":30}],"tags":["x"]}`), 201, `"operation":"Apply"`)
	expect(t, "merged by key", apply("two", `{"crew":[{"name":"Bo"}],"tags":["y"]}`), 200, `"crew":[{"age":30,"name":"Ann"},{"name":"Bo"}]`, `"tags":["x","y"]`)
	expect(t, "a conflict", apply("two", `{"crew":[{"name":"Ann","age":31}]}`), 409, `.spec.crew[name=\"Ann\"].age`)
	expect(t, "given up", apply("two", `{}`), 200, `"crew":[{"age":30,"name":"Ann"}]`, `"tags":["x"]`)
	expect(t, "unknown", apply("two", `{"sail":1}`), 500, "sail: field not declared in schema")
}

// What is wrong with a definition is said with its place.
func TestWrongDefinitions(t *testing.T) {
	c := startCRDs(t, memstore.New(), nil)
	property := func(text string) string {
		return "\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {x: " + text + "}}}}}}"
	}
	const at = "spec.validation.openAPIV3Schema.properties[spec].properties[x]"
	for _, test := range []struct{ versions, want string }{
		{"\n  - {name: v1, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}", "must have exactly one version marked as storage version"},
		{"\n  - {name: v1, served: true, storage: true}", "spec.versions[0].schema.openAPIV3Schema: Required value"},
		{"\n  - {name: V1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}", "spec.versions[0].name: Invalid value"},
		{property("{}"), at + ".type: Required value: must not be empty for specified object fields"},
		{property("{type: strange}"), at + ".type: Unsupported value: \\\"strange\\\""},
		{property("{type: array}"), at + ".items: Required value: must be specified"},
		{property("{type: string, uniqueItems: true}"), at + ".uniqueItems: Forbidden"},
		{property("{type: integer, default: text}"), at + ".default: Invalid value: \\\"string\\\""},
		{property("{type: object, properties: {a: {type: string}}, additionalProperties: {type: string}}"), at + ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"},
		{property("{type: array, items: {type: object, properties: {k: {type: string}}}, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k]}"), at + ".items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys"},
		{property("{type: array, items: {type: object, properties: {k: {type: string}}}, x-kubernetes-list-type: map}"), at + ".x-kubernetes-list-map-keys: Required value"},
		{property("{type: integer, x-kubernetes-validations: [{rule: 'self.foo > 1'}]}"), at + ".x-kubernetes-validations[0].rule: Invalid value"},
		{property("{type: integer, x-kubernetes-validations: [{rule: ''}]}"), at + ".x-kubernetes-validations[0].rule: Required value"},
		{property("{type: integer, x-kubernetes-validations: [{rule: 'self > 1', optionalOldSelf: true}]}"), "may not be set if oldSelf is not used in rule"},
		{property("{type: array, items: {type: integer, x-kubernetes-validations: [{rule: 'self >= oldSelf'}]}}"), "oldSelf cannot be used on the uncorrelatable portion of the schema within " + at},
		{property("{type: array, items: {type: array, items: {type: string, x-kubernetes-validations: [{rule: \"self.matches('a+b+c')\"}]}}}"), at + ".items.items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"},
		{"\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}, selectableFields: [{jsonPath: .spec.x}]}", "is an invalid path"},
		{"\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}, subresources: {scale: {specReplicasPath: .x, statusReplicasPath: .status.x}}}", "should be a json path under .spec"},
		{"\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}, additionalPrinterColumns: [{name: X, type: text, jsonPath: x}]}", "must be one of boolean,date,integer,number,string"},
	} {
		a := c.post(definitions, boatsDefinition(test.versions))
		if a.StatusCode != 422 || !strings.Contains(a.body, test.want) {
			t.Errorf("%s\nwant %s\ngot %d %s", test.versions, test.want, a.StatusCode, a.body)
		}
	}
	wrong := strings.Replace(boatsDefinition(boatV1), "boats.example.org", "boats.example.com", 1)
	expect(t, "a wrong name", c.post(definitions, wrong), 422, `metadata.name: Invalid value: \"boats.example.com\": must be spec.names.plural+\".\"+spec.group`)
	protected := strings.ReplaceAll(boatsDefinition(boatV1), "example.org", "example.k8s.io")
	expect(t, "a group of Kubernetes", c.post(definitions, protected), 422, `metadata.annotations[api-approved.kubernetes.io]: Required value`)
}

// A second definition does not get the names of the first, until that goes.
func TestNamesAreDecided(t *testing.T) {
	c := startCRDs(t, memstore.New(), nil)
	c.define(boatsDefinition(boatV1))
	other := strings.NewReplacer("boats.example.org", "ships.example.org", "plural: boats", "plural: ships", "singular: boat", "singular: ship", "kind: Boat", "kind: Ship").Replace(boatsDefinition(boatV1))
	if a := c.post(definitions, other); a.StatusCode != 201 {
		t.Fatalf("%s", a.body)
	}
	condition := func(typ, want string) func() bool {
		return func() bool {
			crd, ok := state.Get[*apiextensionsv1.CustomResourceDefinition](c.state, "", "ships.example.org")
			if !ok {
				return false
			}
			for _, cond := range crd.Status.Conditions {
				if string(cond.Type) == typ {
					return fmt.Sprintf("%s %s %s", cond.Status, cond.Reason, cond.Message) == want
				}
			}
			return false
		}
	}
	c.until("the names conflict", condition("NamesAccepted", `False ShortNamesConflict "bt" is already in use`))
	c.until("it is not served", condition("Established", `False NotAccepted not all names are accepted`))
	expect(t, "not served", c.ask(http.MethodGet, "/apis/example.org/v1/namespaces/default/ships", ""), 404)
	expect(t, "deleted", c.ask(http.MethodDelete, definitions+"/boats.example.org", ""), 200)
	c.until("the names are free", condition("NamesAccepted", "True NoConflicts no conflicts found"))
	expect(t, "served", c.ask(http.MethodGet, "/apis/example.org/v1/namespaces/default/ships", ""), 200)
}

// With its definition objects go, and those that have finalizers hold it.
func TestDefinitionIsDeleted(t *testing.T) {
	c := startCRDs(t, memstore.New(), nil)
	c.define(boatsDefinition(boatV1))
	expect(t, "created", c.ask(http.MethodPost, at(), boat("free", `{"hull":"wood"}`)), 201)
	expect(t, "created", c.ask(http.MethodPost, at(), strings.Replace(boat("held", `{"hull":"wood"}`), `"name"`, `"finalizers":["example.org/x"],"name"`, 1)), 201)
	expect(t, "deleting", c.ask(http.MethodDelete, definitions+"/boats.example.org", ""), 200, `"type":"Terminating"`, "customresourcecleanup.apiextensions.k8s.io")
	c.until("it waits", func() bool {
		crd, ok := state.Get[*apiextensionsv1.CustomResourceDefinition](c.state, "", "boats.example.org")
		if !ok {
			return false
		}
		for _, cond := range crd.Status.Conditions {
			if cond.Reason == "InstanceDeletionInProgress" {
				return true
			}
		}
		return false
	})
	expect(t, "gone", c.ask(http.MethodGet, at("free"), ""), 404)
	expect(t, "no new ones", c.ask(http.MethodPost, at(), boat("late", `{"hull":"wood"}`)), 403, "create not allowed while custom resource definition is terminating")
	expect(t, "let go", c.ask(http.MethodPatch, at("held"), `{"metadata":{"finalizers":null}}`, "Content-Type: application/merge-patch+json"), 200)
	c.until("it is gone", func() bool {
		_, ok := state.Get[*apiextensionsv1.CustomResourceDefinition](c.state, "", "boats.example.org")
		return !ok
	})
	expect(t, "no such kind", c.ask(http.MethodGet, at("held"), ""), 404)
	c.define(boatsDefinition(boatV1))
	expect(t, "empty", c.ask(http.MethodGet, at(), ""), 200, `"items":[]`)
}

// Clients learn of custom kinds as of others, and that they are gone.
func TestCustomKindsAreDescribed(t *testing.T) {
	c := startCRDs(t, memstore.New(), nil)
	aggregated := "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	before := c.ask(http.MethodGet, "/apis", "", aggregated)
	v2Before := c.ask(http.MethodGet, "/openapi/v2", "", "Accept-Encoding: ")
	c.define(boatsDefinition(boatV1, strings.NewReplacer("name: v1\n", "name: v1beta1\n", "storage: true", "storage: false", "A Boat floats", "A Boat floated").Replace(boatV1)))
	after := c.ask(http.MethodGet, "/apis", "", aggregated)
	if before.Header.Get("ETag") == after.Header.Get("ETag") {
		t.Error("the ETag is the same")
	}
	expect(t, "aggregated", after, 200, `{"metadata":{"name":"example.org"},"versions":[{"version":"v1","resources":[{"resource":"boats","responseKind":{"group":"example.org","version":"v1","kind":"Boat"},"scope":"Namespaced","singularResource":"boat"`, `"shortNames":["bt"],"categories":["all","fleet"]`)
	expect(t, "a group", c.ask(http.MethodGet, "/apis/example.org", ""), 200, `"versions":[{"groupVersion":"example.org/v1","version":"v1"},{"groupVersion":"example.org/v1beta1","version":"v1beta1"}]`)
	expect(t, "a version", c.ask(http.MethodGet, "/apis/example.org/v1", ""), 200, `"name":"boats/scale"`, `"name":"boats/status"`)
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal([]byte(c.ask(http.MethodGet, "/openapi/v3", "").body), &index); err != nil {
		t.Fatal(err)
	}
	doc := c.ask(http.MethodGet, index.Paths["apis/example.org/v1"].ServerRelativeURL, "", "Accept-Encoding: ")
	expect(t, "OpenAPI 3", doc, 200, `"org.example.v1.Boat":`, "A Boat floats.", `"/apis/example.org/v1/namespaces/{namespace}/boats/{name}/scale"`, `"operationId":"createExampleOrgV1NamespacedBoat"`, `"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta":`)
	for _, no := range []string{"Lease", "coordination_v1", "protobuf", "strategic"} {
		if strings.Contains(doc.body, no) {
			t.Errorf("OpenAPI 3 speaks of %s", no)
		}
	}
	checkReferences(t, doc.body, "#/components/schemas/", "components", "schemas")
	v2 := c.ask(http.MethodGet, "/openapi/v2", "", "Accept-Encoding: ")
	expect(t, "OpenAPI 2", v2, 200, `"org.example.v1.Boat":`, "A Boat floated.")
	checkReferences(t, v2.body, "#/definitions/", "definitions")
	proto := c.ask(http.MethodGet, "/openapi/v2", "", "Accept: application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "Accept-Encoding: ")
	expect(t, "OpenAPI 2 as protobuf", proto, 200, "org.example.v1.Boat", "io.k8s.api.core.v1.Pod")
	expect(t, "deleted", c.ask(http.MethodDelete, definitions+"/boats.example.org", ""), 200)
	c.until("it is gone", func() bool {
		_, ok := state.Get[*apiextensionsv1.CustomResourceDefinition](c.state, "", "boats.example.org")
		return !ok
	})
	if again := c.ask(http.MethodGet, "/apis", "", aggregated); again.Header.Get("ETag") != before.Header.Get("ETag") {
		t.Error("discovery is not as before")
	}
	if again := c.ask(http.MethodGet, "/openapi/v2", "", "Accept-Encoding: "); again.body != v2Before.body {
		t.Error("OpenAPI 2 is not as before")
	}
	expect(t, "no group", c.ask(http.MethodGet, "/apis/example.org", ""), 404)
}

// checkReferences fails if the document refers to schemas that it has not.
func checkReferences(t *testing.T, text, prefix string, where ...string) {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc
	for _, name := range where {
		schemas = schemas[name].(map[string]any)
	}
	for _, part := range strings.Split(text, `"$ref":"`+prefix)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
}

const oldBoat = `
  - name: v1alpha1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {material: {type: string}, hull: {type: string}, oars: {type: integer}, planks: {type: integer, default: 7}}}
`

// Without a webhook versions differ in their schema alone.
func TestVersionsWithoutConversion(t *testing.T) {
	over := memstore.New()
	c := startCRDs(t, over, nil)
	c.define(boatsDefinition(boatV1, oldBoat))
	expect(t, "created", c.ask(http.MethodPost, at(), boat("a", `{"hull":"wood","tags":["x"]}`)), 201, `"apiVersion":"example.org/v1"`)
	old := strings.Replace(at("a"), "/v1/", "/v1alpha1/", 1)
	shown := c.ask(http.MethodGet, old, "")
	expect(t, "shown in another version", shown, 200, `"apiVersion":"example.org/v1alpha1"`, `"hull":"wood"`)
	if strings.Contains(shown.body, `"tags":[`) {
		t.Errorf("not pruned: %s", shown.body)
	}
	if w := shown.Header.Get("Warning"); !strings.Contains(w, "example.org/v1alpha1 Boat is deprecated; use example.org/v1 Boat") {
		t.Errorf("warning: %q", w)
	}
	expect(t, "changed in another version", c.ask(http.MethodPatch, old, `{"spec":{"oars":6}}`, "Content-Type: application/merge-patch+json"), 200)
	expect(t, "seen in the first", c.ask(http.MethodGet, at("a"), ""), 200, `"apiVersion":"example.org/v1"`, `"oars":6`)

	// What is not stored has no default when it is shown: here, planks of the old version.
	kept := c.ask(http.MethodPost, strings.TrimSuffix(old, "/a"), strings.Replace(boat("planks", `{"hull":"wood"}`), "/v1\"", "/v1alpha1\"", 1), "Content-Type: application/json")
	expect(t, "made in another version", kept, 201, `"hull":"wood"`)
	if strings.Contains(kept.body, `"planks":7`) {
		t.Errorf("a default of what is not stored: %s", kept.body)
	}

	// The other becomes the stored one.
	crd := c.ask(http.MethodGet, definitions+"/boats.example.org", "")
	swapped := strings.NewReplacer(`"storage":true`, `"storage":false`, `"storage":false`, `"storage":true`).Replace(crd.body)
	expect(t, "swapped", c.ask(http.MethodPut, definitions+"/boats.example.org", swapped, "Content-Type: application/json"), 200, `"storedVersions":["v1","v1alpha1"]`)
	expect(t, "still there", c.ask(http.MethodGet, at("a"), ""), 200, `"apiVersion":"example.org/v1"`, `"oars":6`)
	expect(t, "a list", c.ask(http.MethodGet, strings.TrimSuffix(old, "/a"), ""), 200, `"apiVersion":"example.org/v1alpha1"`)
	again := startCRDs(t, over, nil)
	expect(t, "after a restart", again.ask(http.MethodGet, at("a"), ""), 200, `"apiVersion":"example.org/v1"`, `"oars":6`)
}

func TestConversionWebhook(t *testing.T) {
	broken := false
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var review struct {
			APIVersion, Kind string
			Request          struct {
				UID, DesiredAPIVersion string
				Objects                []map[string]any
			}
		}
		if err := json.Unmarshal(body, &review); err != nil || broken {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		for _, o := range review.Request.Objects {
			spec := o["spec"].(map[string]any)
			from, to := "hull", "material"
			if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v1") {
				from, to = to, from
			}
			spec[to] = spec[from]
			delete(spec, from)
			o["apiVersion"] = review.Request.DesiredAPIVersion
			meta := o["metadata"].(map[string]any)
			meta["resourceVersion"], meta["annotations"] = "1", map[string]any{"converted": "yes"} // the first is not its business
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": review.APIVersion, "kind": review.Kind,
			"response": map[string]any{"uid": review.Request.UID, "result": map[string]any{"status": "Success"}, "convertedObjects": review.Request.Objects},
		})
	}))
	defer hook.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	webhooks := &conversion.Webhooks{Post: new(reach.Webhooks)}
	c := startCRDs(t, memstore.New(), webhooks.Convert)
	encoded, _ := json.Marshal(ca)
	c.define(boatsDefinition(boatV1, oldBoat) + fmt.Sprintf(`
  conversion:
    strategy: Webhook
    webhook: {conversionReviewVersions: [v2, v1, v1beta1], clientConfig: {url: %q, caBundle: %s}}
`, hook.URL, encoded))
	old := strings.Replace(at("a"), "/v1/", "/v1alpha1/", 1)
	created := c.ask(http.MethodPost, strings.TrimSuffix(old, "/a"), `{"apiVersion":"example.org/v1alpha1","kind":"Boat","metadata":{"name":"a"},"spec":{"material":"wood"}}`)
	expect(t, "created", created, 201, `"material":"wood"`, `"converted":"yes"`)
	expect(t, "in the stored version", c.ask(http.MethodGet, at("a"), ""), 200, `"hull":"wood"`)
	expect(t, "in the other", c.ask(http.MethodGet, old, ""), 200, `"material":"wood"`)
	expect(t, "listed", c.ask(http.MethodGet, strings.TrimSuffix(old, "/a"), ""), 200, `"material":"wood"`)
	expect(t, "applied", c.ask(http.MethodPatch, old+"?fieldManager=x&force=true", `{"apiVersion":"example.org/v1alpha1","kind":"Boat","metadata":{"name":"a"},"spec":{"oars":4}}`, "Content-Type: application/apply-patch+yaml"), 200, `"oars":4`, `"material":"wood"`)
	broken = true
	expect(t, "refused", c.ask(http.MethodGet, old, ""), 500, "conversion webhook for example.org/v1, Kind=Boat failed")
	expect(t, "the stored one needs no webhook", c.ask(http.MethodGet, at("a"), ""), 200, `"oars":4`)
}

// Anything may be sent as a definition: it is refused or accepted, and what is accepted works.
func FuzzDefinition(f *testing.F) {
	f.Add([]byte(boatV1))
	f.Add([]byte(oldBoat))
	f.Add([]byte("\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}"))
	f.Add([]byte("\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: array, items: {allOf: [{type: string}]}}}}}}"))
	f.Fuzz(func(tt *testing.T, versions []byte) {
		c := crds{startWith(tt, memstore.New(), resource.New())}
		a := c.post(definitions, boatsDefinition(string(versions)))
		if a.StatusCode >= 500 {
			tt.Errorf("%d %s", a.StatusCode, a.body)
		}
		if a.StatusCode != http.StatusCreated {
			return
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := json.Unmarshal([]byte(a.body), &crd); err != nil {
			tt.Fatal(err)
		}
		crd.Status.AcceptedNames = crd.Spec.Names
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
		body, _ := json.Marshal(crd)
		c.ask(http.MethodPut, definitions+"/boats.example.org/status", string(body))
		for _, v := range crd.Spec.Versions {
			path := strings.Replace(at(), "/v1/", "/"+v.Name+"/", 1)
			for _, spec := range []string{`{}`, `{"hull":"wood","oars":[1]}`, `null`, `[{"a":{}}]`} {
				object := strings.Replace(boat("a", spec), "example.org/v1", "example.org/"+v.Name, 1)
				if a := c.ask(http.MethodPost, path, object); a.StatusCode >= 500 {
					tt.Errorf("%s: %d %s", object, a.StatusCode, a.body)
				}
			}
		}
	})
}
