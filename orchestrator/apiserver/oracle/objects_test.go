package oracle

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Media types of patches.
const (
	merge     = "application/merge-patch+json"
	strategic = "application/strategic-merge-patch+json"
	jsonPatch = "application/json-patch+json"
	apply     = "application/apply-patch+yaml"
	asTable   = "application/json;as=Table;v=v1;g=meta.k8s.io"
)

// TestObjects takes an object of each kind through its life: grown from a small one by what the schema
// allows, created, read, changed in every way, deleted.
func TestObjects(t *testing.T) {
	seeds, missing, err := pair.seeds(t.Context(), "testdata/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("not compared, for ours does not serve them: %s", strings.Join(missing, ", "))
	live(t, seeds)
}

// live takes as many objects of each kind through their lives as there are rounds.
func live(t *testing.T, seeds []Seed) {
	t.Helper()
	if err := pair.Case(t.Context()).Namespace("objects"); err != nil {
		t.Fatal(err)
	}
	for round := range *rounds {
		for n, s := range seeds {
			t.Run(fmt.Sprintf("%s.%s/%d/%d", s.Name, strings.ReplaceAll(s.GroupVersion, "/", "."), n, round), func(t *testing.T) {
				life, err := newLife(t, s, round, n)
				if err == nil {
					err = life.run()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// life is one object's.
type life struct {
	*Case
	seed   Seed
	schema *Schema
	make   *maker
	object map[string]any
	at     string // the object's path
	name   string
}

func newLife(t *testing.T, s Seed, round, n int) (*life, error) {
	schemas, err := pair.schemas(t.Context(), s.GroupVersion)
	if err != nil {
		return nil, err
	}
	schema, ok := schemas.kind(s.gvk())
	if !ok {
		return nil, fmt.Errorf("no schema of %v", s.gvk())
	}
	h := fnv.New64()
	fmt.Fprintf(h, "%s %s %d %d", s.GroupVersion, s.Kind, round, n)
	l := &life{
		Case: pair.Case(t.Context()), seed: s, schema: schema, name: fmt.Sprintf("o%d-%d", n, round),
		make: &maker{Rand: rand.New(rand.NewPCG(*seed, h.Sum64())), schemas: schemas},
	}
	if l.object, err = s.Object("objects", l.name); err != nil {
		return nil, err
	}
	l.name = l.object["metadata"].(map[string]any)["name"].(string)
	l.at = s.Collection("objects") + "/" + l.name
	return l, nil
}

// run returns the error of a server that does not answer; differences go to the ledger. From the first one on
// the object is not the same on both sides: what follows would tell nothing new.
func (l *life) run() error {
	for _, step := range []func() error{l.grow, l.break_} {
		if err := step(); err != nil {
			return err
		}
	}
	l.Differs = 0
	if l.seed.Name == "flowschemas" {
		return nil // a controller inside of kube-apiserver writes their status at any time
	}
	for _, step := range []func() error{l.create, l.read, l.update, l.patch, l.status, l.scale, l.apply, l.read, l.delete, l.watch} {
		if err := step(); err != nil && !errors.Is(err, errDiffers) {
			return err
		}
		if l.Differs > 0 {
			break
		}
	}
	return l.remove()
}

// errDiffers ends a step: the two objects are not the same any more.
var errDiffers = errors.New("the objects differ")

// step asks and ends the step when the answers differ.
func (l *life) step(r Request) (Both, error) {
	both, err := l.Ask(r)
	if err == nil && l.Differs > 0 {
		err = errDiffers
	}
	return both, err
}

// remove leaves nothing behind, whatever the object has become.
func (l *life) remove() error {
	for _, r := range []Request{
		{Method: "PATCH", Path: l.at, Header: map[string]string{"Content-Type": merge}, Body: `{"metadata":{"finalizers":null}}`},
		{Method: "DELETE", Path: l.at + "?gracePeriodSeconds=0"},
	} {
		if _, _, err := pair.do(l.ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// dry forgets the steps that cannot matter: dry runs.
func (l *life) dry(r Request) (Both, error) {
	steps := l.steps
	both, err := l.Ask(r)
	l.steps = steps
	return both, err
}

// grow adds to the object what kube-apiserver takes.
func (l *life) grow() error {
	const attempts = 25
	for i := range attempts {
		l.make.wild = []int{0, 0, 5, 30}[i%4]
		candidate := l.make.grow(l.schema, clone(l.object), "").(map[string]any)
		both, err := l.dry(Request{Method: "POST", Path: l.seed.Collection("objects") + "?dryRun=All&fieldValidation=Strict", Body: mustJSON(candidate)})
		if err != nil {
			return err
		}
		if both.Status == 201 {
			l.object = candidate
		}
	}
	return nil
}

// break_ damages the grown object in one or two places.
func (l *life) break_() error {
	const attempts = 10
	for i := range attempts {
		broken := clone(l.object)
		for range 1 + i%2 {
			broken = l.make.damage(broken)
		}
		query := []string{"", "&fieldValidation=Strict", "&fieldValidation=Ignore"}[i%3]
		if _, err := l.dry(Request{Method: "POST", Path: l.seed.Collection("objects") + "?dryRun=All" + query, Body: mustJSON(broken)}); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) create() error {
	if _, err := l.dry(Request{Method: "GET", Path: l.seed.Collection("objects") + "?fieldSelector=metadata.name%3D" + l.name}); err != nil {
		return err
	}
	l.Mark(l.name)
	_, err := l.step(Request{Method: "POST", Path: l.seed.Collection("objects") + "?fieldManager=maker", Body: mustJSON(l.object)})
	return err
}

func (l *life) read() error {
	list := l.seed.Collection("objects") + "?fieldSelector=metadata.name%3D" + l.name
	for _, r := range []Request{
		{Path: l.at},
		{Path: l.at, Header: map[string]string{"Accept": asTable}},
		{Path: l.at, Header: map[string]string{"Accept": "application/vnd.kubernetes.protobuf"}},
		{Path: list},
		{Path: list, Header: map[string]string{"Accept": asTable}},
	} {
		r.Method = "GET"
		if _, err := l.dry(r); err != nil {
			return err
		}
	}
	return nil
}

// current is the object as it is stored, with names in it.
func (l *life) current() (map[string]any, error) {
	both, err := l.dry(Request{Method: "GET", Path: l.at})
	if err != nil || both.Status != 200 {
		return nil, err
	}
	return both.Object(), nil
}

// update puts changed objects: what may not change is part of it.
func (l *life) update() error {
	const attempts = 8
	for i := range attempts {
		now, err := l.current()
		if err != nil || now == nil {
			return err
		}
		l.make.wild = []int{0, 10}[i%2]
		changed := clone(now).(map[string]any)
		switch i % 4 {
		case 0:
			delete(changed["metadata"].(map[string]any), "managedFields")
			changed["metadata"].(map[string]any)["labels"] = map[string]any{"n": fmt.Sprint(i)}
		case 3:
			changed = l.make.damage(changed).(map[string]any)
		default:
			changed = l.make.grow(l.schema, changed, "").(map[string]any)
		}
		if _, err := l.step(Request{Method: "PUT", Path: l.at + "?fieldManager=putter", Body: mustJSON(changed)}); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) patch() error {
	const attempts = 9
	for i := range attempts {
		now, err := l.current()
		if err != nil || now == nil {
			return err
		}
		l.make.wild = []int{0, 10}[i%2]
		changed := l.make.grow(l.schema, clone(now), "").(map[string]any)
		r := Request{Method: "PATCH", Path: l.at + "?fieldManager=patcher", Header: map[string]string{}}
		switch i % 3 {
		case 0:
			r.Header["Content-Type"], r.Body = merge, mustJSON(difference(now, changed))
		case 1:
			r.Header["Content-Type"], r.Body = strategic, mustJSON(difference(now, changed))
		case 2:
			r.Header["Content-Type"], r.Body = jsonPatch, mustJSON(operations("", now, changed))
		}
		if _, err := l.step(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) status() error {
	if !slices.Contains(l.seed.Subresources, "status") || l.schema.Properties["status"] == nil {
		return nil
	}
	schema := l.schema.Properties["status"]
	if _, err := l.dry(Request{Method: "GET", Path: l.at + "/status"}); err != nil {
		return err
	}
	const attempts = 9
	for i := range attempts {
		now, err := l.current()
		if err != nil || now == nil {
			return err
		}
		l.make.wild = []int{0, 10}[i%2]
		status := now["status"]
		if status == nil {
			status = map[string]any{}
		}
		changed := clone(now).(map[string]any)
		changed["status"] = l.make.grow(schema, clone(status), "")
		r := Request{Method: "PUT", Path: l.at + "/status?fieldManager=status", Body: mustJSON(changed)}
		switch i % 3 {
		case 1:
			r.Method, r.Header, r.Body = "PATCH", map[string]string{"Content-Type": merge}, mustJSON(difference(now, changed))
		case 2:
			r.Method, r.Header, r.Body = "PATCH", map[string]string{"Content-Type": strategic}, mustJSON(difference(now, changed))
		}
		if _, err := l.step(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) scale() error {
	if !slices.Contains(l.seed.Subresources, "scale") {
		return nil
	}
	// Never to 0, nor to what it is: there kube-apiserver loses who scaled, or notes it and nothing else.
	for _, r := range []Request{
		{Method: "GET"},
		{Method: "PATCH", Header: map[string]string{"Content-Type": merge}, Body: `{"spec":{"replicas":-1}}`},
		{Method: "PATCH", Header: map[string]string{"Content-Type": merge}, Body: `{"spec":{"replicas":2001}}`},
		{Method: "PUT", Body: `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"` + l.name + `","namespace":"objects"},"spec":{"replicas":2002}}`},
	} {
		r.Path = l.at + "/scale"
		if _, err := l.step(r); err != nil {
			return err
		}
	}
	return nil
}

// apply has two managers apply what each has in mind, taking turns.
func (l *life) apply() error {
	wishes := map[string]map[string]any{}
	for i, manager := range []string{"one", "two", "one", "two", "one"} {
		wish := wishes[manager]
		if wish == nil {
			small, err := l.seed.Object("objects", l.name)
			if err != nil {
				return err
			}
			wish = small
		}
		l.make.wild = []int{0, 0, 20}[i%3]
		wish = l.make.grow(l.schema, clone(wish), "").(map[string]any)
		query := "?fieldManager=" + manager
		if i > 2 {
			query += "&force=true"
		}
		both, err := l.step(Request{Method: "PATCH", Path: l.at + query, Header: map[string]string{"Content-Type": apply}, Body: mustJSON(wish)})
		if err != nil {
			return err
		}
		if both.Status < 300 {
			wishes[manager] = wish
		}
	}
	return nil
}

func (l *life) delete() error {
	query := pick(l.make.Rand, []string{"", "?propagationPolicy=Background", "?propagationPolicy=Foreground", "?propagationPolicy=Orphan", "?gracePeriodSeconds=0"})
	for _, r := range []Request{
		{Method: "DELETE", Path: l.at + "?dryRun=All"},
		{Method: "DELETE", Path: l.at + query},
		{Method: "GET", Path: l.at},
		{Method: "PATCH", Path: l.at, Header: map[string]string{"Content-Type": merge}, Body: `{"metadata":{"finalizers":null}}`},
		{Method: "DELETE", Path: l.at + "?gracePeriodSeconds=0"},
	} {
		if _, err := l.step(r); err != nil {
			return err
		}
	}
	return nil
}

// watch reads all that has happened to the object.
func (l *life) watch() error {
	_, err := l.step(Request{Method: "GET", Until: `"type":"DELETED"`,
		Path: l.seed.Collection("objects") + "?watch=1&timeoutSeconds=3&resourceVersion=⟨version " + l.name + "⟩&fieldSelector=metadata.name%3D" + l.name})
	return err
}

// difference is a merge patch that makes b of a.
func difference(a, b map[string]any) map[string]any {
	patch := map[string]any{}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		v, inA := a[key]
		w, inB := b[key]
		x, xIsMap := v.(map[string]any)
		y, yIsMap := w.(map[string]any)
		switch {
		case !inB:
			patch[key] = nil
		case inA && xIsMap && yIsMap:
			if d := difference(x, y); len(d) > 0 {
				patch[key] = d
			}
		case !inA || mustJSON(v) != mustJSON(w):
			patch[key] = w
		}
	}
	return patch
}

var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// operations is a JSON patch that makes b of a.
func operations(path string, a, b map[string]any) []any {
	all := []any{}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := path + "/" + pointer.Replace(key)
		v, inA := a[key]
		w, inB := b[key]
		x, xIsMap := v.(map[string]any)
		y, yIsMap := w.(map[string]any)
		switch {
		case !inB:
			all = append(all, map[string]any{"op": "remove", "path": at})
		case !inA:
			all = append(all, map[string]any{"op": "add", "path": at, "value": w})
		case xIsMap && yIsMap:
			all = append(all, operations(at, x, y)...)
		case mustJSON(v) != mustJSON(w):
			all = append(all, map[string]any{"op": "replace", "path": at, "value": w})
		}
	}
	return all
}
