package apiserver

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/resource"
)

// apply is server-side apply: the patch says what its manager wants, and creates the object
// if there is none.
func (c *call) apply(p *patch, o metav1.PatchOptions) error {
	wanted, err := p.configuration()
	if err != nil {
		return err
	}
	force := o.Force != nil && *o.Force
	writing := patching(o)
	writing.Create = c.at.subresource == ""
	done, err := c.edit(writing, func(live resource.Object) (resource.Object, error) {
		created := live == nil
		if created {
			live = c.kind.New()
		}
		obj, err := c.s.managed.apply(c.kind, c.at.subresource, typed(live, c.kind.GroupVersionKind), wanted.DeepCopy(), o.FieldManager, force)
		if err != nil {
			return nil, err
		}
		if uid := obj.GetUID(); created && uid != "" {
			return nil, apierrors.NewConflict(c.kind.GroupResource(), c.at.name, fmt.Errorf(
				"uid mismatch: the provided object specified uid %s, and no existing object was found", uid))
		}
		if err := c.sameUID(obj, live); err != nil {
			return nil, err
		}
		if err := c.place(obj); err != nil {
			return nil, err
		}
		return obj, c.named(obj)
	})
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
