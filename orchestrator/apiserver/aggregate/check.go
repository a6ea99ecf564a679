package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"wherry/orchestrator/apiserver/auth"
)

const (
	checkTimeout = 5 * time.Second
	// checks are made before a server counts as failed: each may come to another endpoint.
	checks = 3
	// maxDiscovery bounds what a server may tell of its resources, in bytes.
	maxDiscovery = 4 << 20
)

// lesson is what a server told about itself, and by which way.
type lesson struct {
	way       *way
	resources []metav1.APIResource
}

// inspector is who asks for us; servers let him see everything.
var inspector = &auth.User{Name: "system:kube-aggregator", Groups: []string{auth.GroupMasters}}

// Check asks the server of an APIService what it serves and remembers it for discovery. Errors say, as Kubernetes does,
// what was wrong with the answer.
func (a *Aggregator) Check(ctx context.Context, object *apiregistrationv1.APIService) error {
	s := a.Now().Of(schema.GroupVersion{Group: object.Spec.Group, Version: object.Spec.Version})
	if s == nil || s.object.UID != object.UID {
		return nil // it is another one now, or none: there is news to come
	}
	if s.way.broken != nil {
		return s.way.broken
	}
	path := "/apis/" + s.Group + "/" + s.Version
	if s.Group == "" {
		path = "/api/" + s.Version
	}
	var list metav1.APIResourceList
	var err error
	for range checks {
		if err = a.get(ctx, s, path, &list); err == nil {
			a.learn(object.Name, &lesson{way: s.way, resources: list.APIResources})
			return nil
		}
		s.way.plain.CloseIdleConnections()
	}
	return fmt.Errorf("failing or missing response from %s: %w", s.way.to.url(path, ""), err)
}

func (a *Aggregator) learn(name string, told *lesson) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if had := a.learned[name]; had != nil && had.way == told.way && reflect.DeepEqual(had.resources, told.resources) {
		return
	}
	a.learned[name] = told
	a.lessons.Add(1)
}

// get reads JSON from a server.
func (a *Aggregator) get(ctx context.Context, s *Server, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	where := s.way.to.url(path, "").String()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	identify(r.Header, inspector)
	r.Header.Set("Accept", "application/json")
	answer, err := s.way.plain.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("bad status from %s: %d", where, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxDiscovery+1))
	switch {
	case err != nil:
		return err
	case len(body) > maxDiscovery:
		return fmt.Errorf("the answer of %s is larger than %d bytes", where, maxDiscovery)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", where, err)
	}
	return nil
}
