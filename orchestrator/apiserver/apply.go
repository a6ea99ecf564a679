package apiserver

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// apply is server-side apply: the patch says what its manager wants, and creates the object
// if there is none.
func (c *call) apply(p *patch, o metav1.PatchOptions) error {
	wanted, err := p.configuration()
	if err != nil {
		return err
	}
	force := o.Force != nil && *o.Force
	merge := func(live resource.Object) (resource.Object, error) {
		obj, err := c.s.managed.apply(c.kind, c.at.subresource, typed(live, c.kind.GroupVersionKind), wanted.DeepCopy(), o.FieldManager, force)
		if err != nil {
			return nil, err
		}
		if err := c.place(obj); err != nil {
			return nil, err
		}
		return obj, c.named(obj)
	}
	done, err := c.applied(merge, len(o.DryRun) > 0)
	if err != nil {
		return err
	}
	c.warn(p.warnings...)
	return c.changed(done)
}

// configuration reads the body of an apply.
func (p *patch) configuration() (*unstructured.Unstructured, error) {
	wanted := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(p.data, &wanted.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if p.validation == metav1.FieldValidationIgnore {
		return wanted, nil
	}
	if err := yaml.UnmarshalStrict(p.data, &map[string]any{}); err != nil {
		if p.validation == metav1.FieldValidationStrict {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
		}
		p.warnings = append(p.warnings, err.Error())
	}
	return wanted, nil
}

// applied merges into the live object, or into an empty one that is then created. Another
// writer may create or delete it between the two attempts; then they are made again.
func (c *call) applied(merge func(resource.Object) (resource.Object, error), dryRun bool) (change, error) {
	const attempts = 5
	var err error
	for range attempts {
		var done change
		done, err = c.change(dryRun, nil, func(live resource.Object) (resource.Object, error) {
			if live == nil {
				return nil, apierrors.NewNotFound(c.kind.GroupResource(), c.at.name)
			}
			return merge(live)
		})
		if !apierrors.IsNotFound(err) || c.at.subresource != "" {
			return done, err
		}
		done, err = c.applyNew(merge, dryRun)
		if !apierrors.IsAlreadyExists(err) {
			return done, err
		}
	}
	return change{}, err
}

func (c *call) applyNew(merge func(resource.Object) (resource.Object, error), dryRun bool) (change, error) {
	obj, err := merge(c.kind.New())
	if err != nil {
		return change{}, err
	}
	if uid := obj.GetUID(); uid != "" {
		return change{}, apierrors.NewConflict(c.kind.GroupResource(), c.at.name, fmt.Errorf(
			"uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
	}
	stored, err := c.s.state.Create(c.ctx(), c.kind, obj, state.CreateOptions{DryRun: dryRun, User: c.user.Name})
	return change{stored: stored, created: true}, err
}
