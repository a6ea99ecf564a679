package oracle

import (
	"fmt"
	"net/http"
)

// Namespace makes a namespace on both sides, with the account that a controller would make: no controller runs.
func (c *Case) Namespace(name string) error {
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)
	if err := c.prepare("/api/v1/namespaces", body); err != nil {
		return err
	}
	return c.prepare("/api/v1/namespaces/"+name+"/serviceaccounts", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"},"automountServiceAccountToken":false}`)
}

// prepare creates what a case stands on, on both sides; it may be there. It is not compared.
func (c *Case) prepare(path, body string) error {
	r := Request{Method: http.MethodPost, Path: path, Body: body}
	for _, s := range []*Server{c.pair.Theirs, c.pair.Ours} {
		a, err := s.Do(c.ctx, r)
		if err != nil {
			return err
		}
		if a.Status >= 300 && a.Status != http.StatusConflict {
			return fmt.Errorf("%s: %s: %d %s", s.Name, r.Command(), a.Status, a.Body)
		}
	}
	c.steps = append(c.steps, r.Command())
	return nil
}

// Mark keeps the version of the last list under a name: ⟨version NAME⟩.
func (c *Case) Mark(name string) {
	for _, s := range []*Server{c.pair.Theirs, c.pair.Ours} {
		s.names.values["⟨version "+name+"⟩"] = s.names.values["⟨version⟩"]
	}
}
