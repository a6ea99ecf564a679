package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

var scaleDoors = map[string]handler{
	"get": (*call).getScale, "update": (*call).updateScale, "patch": (*call).patchScale,
}

// scaleOf shows an object's replicas as autoscaling/v1 Scale.
func (c *call) scaleOf(obj resource.Object) *autoscalingv1.Scale {
	spec, status, selector := c.kind.Subresources[c.at.subresource].Scale.Replicas(obj)
	s := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}
	s.SetGroupVersionKind(scaleKind)
	return s
}

func (c *call) getScale() error {
	entry, err := c.s.state.Get(c.ctx(), c.kind, c.namespace(), c.at.name)
	if err != nil {
		return err
	}
	return c.other(http.StatusOK, c.scaleOf(entry.Object()), scaleKind)
}

func (c *call) updateScale() error {
	o, err := c.updateOptions()
	if err != nil {
		return err
	}
	b, err := c.body()
	if err != nil {
		return err
	}
	wanted := &autoscalingv1.Scale{}
	warnings, err := c.s.codec.decodeOther(b, scaleKind, wanted, fieldValidation(o.FieldValidation))
	if err != nil {
		return err
	}
	c.warn(warnings...)
	if err := c.named(wanted); err != nil {
		return err
	}
	return c.rescale(state.UpdateOptions{DryRun: len(o.DryRun) > 0, Options: &o}, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return wanted, nil })
}

func (c *call) patchScale() error {
	p, o, err := c.readPatch()
	if err != nil {
		return err
	}
	if p.kind == types.ApplyYAMLPatchType {
		return c.applyScale(p, o)
	}
	return c.rescale(patching(o), func(live *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		wanted, err := p.scale(c.s, live)
		if err != nil {
			return nil, err
		}
		c.warn(p.warnings...)
		return wanted, c.named(wanted)
	})
}

// scale is live with the patch applied.
func (p *patch) scale(s *Server, live *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	into := &autoscalingv1.Scale{}
	if p.kind == types.StrategicMergePatchType {
		return into, p.strategic(live, into)
	}
	before, err := json.Marshal(live)
	if err != nil {
		return nil, fmt.Errorf("encoding a scale: %w", err)
	}
	after, loose, err := p.json(before)
	if err != nil {
		return nil, err
	}
	_, _, found, err := decode(s.codec.others[media.JSON], after, scaleKind, into, p.validation)
	if err != nil {
		return nil, p.unfit(string(after), append(loose, strictErrors(err)...), err)
	}
	return into, p.loosely(string(after), append(loose, found...))
}

// rescale writes the replicas that edit wants. The owner of the field becomes who scales.
func (c *call) rescale(o state.UpdateOptions, edit func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) error {
	o.Manager = c.manager(o.Options.FieldManager)
	done, err := c.edit(o, func(live resource.Object) (resource.Object, error) {
		wanted, err := edit(c.scaleOf(live))
		if err != nil {
			return nil, err
		}
		if err := c.checkScale(wanted, live); err != nil {
			return nil, err
		}
		obj := live.DeepCopyObject().(resource.Object)
		obj.SetResourceVersion(wanted.ResourceVersion)
		if wanted.ResourceVersion == "" {
			obj.SetResourceVersion(live.GetResourceVersion())
		}
		c.kind.Subresources[c.at.subresource].Scale.Set(obj, wanted.Spec.Replicas)
		return obj, nil
	})
	if err != nil {
		return err
	}
	return c.other(http.StatusOK, c.scaleOf(done.stored), scaleKind)
}

func (c *call) checkScale(wanted *autoscalingv1.Scale, live resource.Object) error {
	if wanted.UID != "" && wanted.UID != live.GetUID() {
		return apierrors.NewConflict(c.kind.GroupResource(), c.at.name, fmt.Errorf( //lint:ignore ST1005 the words are Kubernetes'
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", wanted.UID, live.GetUID()))
	}
	if wanted.Spec.Replicas < 0 && c.kind.Custom == nil { // of custom kinds the whole object is validated
		return apierrors.NewInvalid(scaleKind.GroupKind(), c.at.name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), wanted.Spec.Replicas, "must be greater than or equal to 0").WithOrigin("minimum")})
	}
	return nil
}

// applyScale is server-side apply of a Scale: it is turned into one of the object that has
// just the replicas, so that ownership is judged where it is kept.
func (c *call) applyScale(p *patch, o metav1.PatchOptions) error {
	wanted, err := p.configuration()
	if err != nil {
		return err
	}
	if wanted.GroupVersionKind() != scaleKind {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid object type: %v", wanted.GroupVersionKind()))
	}
	object, err := c.scaleConfiguration(wanted)
	if err != nil {
		return err
	}
	force := o.Force != nil && *o.Force
	done, err := c.edit(patching(o), func(live resource.Object) (resource.Object, error) {
		return c.s.managed.apply(c.kind, c.at.subresource, typed(live, c.kind.GroupVersionKind), object.DeepCopy(), o.FieldManager, force)
	})
	if err != nil {
		return err
	}
	c.warn(p.warnings...)
	return c.other(http.StatusOK, c.scaleOf(done.stored), scaleKind)
}

func (c *call) scaleConfiguration(wanted *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(c.kind.GroupVersionKind)
	object.SetName(c.at.name)
	object.SetNamespace(c.namespace())
	replicas, found, err := unstructured.NestedFieldNoCopy(wanted.Object, "spec", "replicas")
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if !found {
		return object, nil
	}
	var path []string
	for _, element := range c.kind.Subresources[c.at.subresource].Scale.SpecPath {
		path = append(path, *element.FieldName)
	}
	return object, unstructured.SetNestedField(object.Object, replicas, path...)
}
