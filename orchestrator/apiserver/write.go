package apiserver

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

func (c *call) create() error {
	o, err := c.createOptions()
	if err != nil {
		return err
	}
	obj, err := c.received(o.FieldValidation)
	if err != nil {
		return err
	}
	stored, err := c.s.state.Create(c.ctx(), c.kind, obj, state.CreateOptions{
		DryRun: len(o.DryRun) > 0, User: c.user.Info(), Options: &o, Manager: c.manager(o.FieldManager), Remarks: c.remarks()})
	if err != nil {
		return err
	}
	c.warnAbout(stored, nil)
	return c.object(http.StatusCreated, stored)
}

// received reads the object that the client sent, with defaults, in the namespace of the request.
func (c *call) received(validation string) (resource.Object, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	d, err := c.s.codec.decodeKind(b, c.kind, fieldValidation(validation))
	if err != nil {
		return nil, err
	}
	c.warn(d.warnings...)
	if err := c.place(d.object); err != nil {
		return nil, err
	}
	c.dedupOwners(d.object)
	c.s.kinds.Default(c.kind, d.object)
	return d.object, nil
}

// dedupOwners drops owner references that are there twice, and says so.
func (c *call) dedupOwners(obj metav1.Object) {
	seen := map[string]bool{}
	var kept []metav1.OwnerReference
	var twice []string
	for _, ref := range obj.GetOwnerReferences() {
		key := ownerKey(ref)
		if seen[key] {
			twice = append(twice, string(ref.UID))
			continue
		}
		seen[key] = true
		kept = append(kept, ref)
	}
	if len(twice) > 0 {
		obj.SetOwnerReferences(kept)
		c.warn(".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, " +
			"and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: " + strings.Join(twice, ", "))
	}
}

// ownerKey tells owner references apart.
func ownerKey(ref metav1.OwnerReference) string {
	flag := func(b *bool) string {
		if b == nil {
			return "-"
		}
		return strconv.FormatBool(*b)
	}
	return strings.Join([]string{ref.APIVersion, ref.Kind, ref.Name, string(ref.UID), flag(ref.Controller), flag(ref.BlockOwnerDeletion)}, "\x00")
}

// warnAbout passes on what the kind, or the door that is written through, has to say about the new object.
func (c *call) warnAbout(obj, old resource.Object) {
	warnings := c.kind.Warnings
	if sub, ok := c.kind.Subresources[c.at.subresource]; ok {
		warnings = sub.Warnings
	}
	if warnings != nil {
		c.warn(warnings(obj, old)...)
	}
}

func (c *call) update() error {
	o, err := c.updateOptions()
	if err != nil {
		return err
	}
	obj, err := c.received(o.FieldValidation)
	if err != nil {
		return err
	}
	if err := c.named(obj); err != nil {
		return err
	}
	options := state.UpdateOptions{DryRun: len(o.DryRun) > 0, Options: &o, Manager: c.manager(o.FieldManager)}
	done, err := c.edit(options, func(resource.Object) (resource.Object, error) {
		return obj.DeepCopyObject().(resource.Object), nil
	})
	if err != nil {
		return err
	}
	return c.changed(done)
}

// change is the outcome of a write.
type change struct {
	stored, old resource.Object // old is nil if the object was created
	created     bool
}

// edit writes through the call's door. change is given nil where there is no object yet, if o or the kind
// let it create one.
func (c *call) edit(o state.UpdateOptions, edit func(live resource.Object) (resource.Object, error)) (change, error) {
	var done change
	var err error
	o.User, o.Subresource, o.Remarks = c.user.Info(), c.at.subresource, c.remarks()
	done.stored, done.created, err = c.s.state.Update(c.ctx(), c.kind, c.namespace(), c.at.name,
		func(live state.Object) (state.Object, error) {
			done.old = live
			return edit(live)
		}, o)
	return done, err
}

// changed answers with what was stored.
func (c *call) changed(done change) error {
	c.warnAbout(done.stored, done.old)
	if done.created {
		return c.object(http.StatusCreated, done.stored)
	}
	return c.object(http.StatusOK, done.stored)
}

// named refuses an object whose name or namespace is not that of the URL.
func (c *call) named(obj metav1.Object) error {
	if obj.GetName() == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", c.at.name))
	}
	if obj.GetName() != c.at.name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), c.at.name))
	}
	return nil
}
