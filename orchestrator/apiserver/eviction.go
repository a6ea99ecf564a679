package apiserver

import (
	"net/http"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/state"
)

// eviction deletes a pod as its disruption budgets allow. There are no budgets yet.
func (c *call) eviction() error {
	e := &policyv1.Eviction{}
	options, err := c.posted(evictionKind, e)
	if err != nil {
		return err
	}
	if e.Name != "" && e.Name != c.at.name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	e.Name, e.Namespace = c.at.name, c.at.namespace
	var o state.DeleteOptions
	if e.DeleteOptions != nil {
		o = c.deletion(e.DeleteOptions)
	}
	o.DryRun, o.User, o.Admitted = o.DryRun || len(options.DryRun) > 0, c.user.Info(), true
	err = c.s.state.Ask(c.ctx(), state.Attributes{
		Kind: c.kind, Subresource: c.at.subresource, Operation: state.OpCreate, Namespace: c.at.namespace, Name: c.at.name,
		Object: e, DryRun: o.DryRun, User: c.user.Info(), Options: options, Remarks: o.Remarks,
	})
	if err != nil {
		return err
	}
	if _, _, err := c.s.state.Delete(c.ctx(), c.kind, c.namespace(), c.at.name, o); err != nil {
		return err
	}
	return c.success(http.StatusCreated, nil)
}
