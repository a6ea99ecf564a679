package apiserver

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/state"
)

// showsDeleted are the kinds of which Kubernetes answers with the deleted object instead of a Status.
var showsDeleted = map[schema.GroupKind]bool{
	{Kind: "Namespace"}: true, {Kind: "PersistentVolume"}: true, {Kind: "PersistentVolumeClaim"}: true,
	{Kind: "Pod"}: true, {Kind: "PodTemplate"}: true, {Kind: "ResourceQuota"}: true,
	{Kind: "Service"}: true, {Kind: "ServiceAccount"}: true,
	{Group: "storage.k8s.io", Kind: "StorageClass"}: true, {Group: "storage.k8s.io", Kind: "CSIDriver"}: true,
	{Group: "storage.k8s.io", Kind: "CSINode"}: true, {Group: "storage.k8s.io", Kind: "VolumeAttachment"}: true,
	{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}: true,
}

func (c *call) delete() error {
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	last, gone, err := c.s.state.Delete(c.ctx(), c.kind, c.namespace(), c.at.name, c.deletion(o))
	if err != nil {
		return err
	}
	code := http.StatusOK
	//nolint:staticcheck // the older field still has this meaning
	if orphan := o.OrphanDependents; !gone && orphan != nil && !*orphan {
		code = http.StatusAccepted
	}
	if gone && !showsDeleted[c.kind.GroupVersionKind.GroupKind()] {
		return c.success(code, &metav1.StatusDetails{Name: last.GetName(), Group: c.kind.Group, Kind: c.kind.Plural, UID: last.GetUID()})
	}
	return c.object(code, last)
}

// deleteOptions reads the options from the body, or from the query if there is none.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	data, err := c.read()
	if err != nil {
		return nil, err
	}
	o := &metav1.DeleteOptions{}
	if len(data) == 0 {
		parsed, err := parse(c.r.URL.Query(), metav1.Convert_url_Values_To_v1_DeleteOptions)
		if err != nil {
			return nil, err
		}
		o = &parsed
	} else {
		format, err := media.Body(c.r.Header.Get("Content-Type"))
		if err != nil {
			return nil, err
		}
		gvk := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
		b := body{data, format}
		if c.kind.Custom != nil && format != media.Protobuf {
			b = ownOptions(b, c.kind)
		}
		object, found, _, err := decode(c.s.codec.others[b.format], b.data, gvk, o, metav1.FieldValidationIgnore)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if object != runtime.Object(o) {
			return nil, describeDecode(errors.New("the kind does not match the URL"), gvk, found, b.data)
		}
	}
	return o, invalid("DeleteOptions", validation.ValidateDeleteOptions(o))
}

func (c *call) deletion(o *metav1.DeleteOptions) state.DeleteOptions {
	//nolint:staticcheck // old clients still send it
	if c.kind.Orphaning != "" && o.PropagationPolicy == nil && o.OrphanDependents == nil {
		c.warn(c.kind.Orphaning)
	}
	d := state.DeleteOptions{
		DryRun: len(o.DryRun) > 0, User: c.user.Info(), Options: o, Remarks: c.remarks(), Grace: o.GracePeriodSeconds,
		Preconditions: o.Preconditions, Propagation: o.PropagationPolicy,
	}
	//nolint:staticcheck // old clients still send it
	if orphan := o.OrphanDependents; orphan != nil {
		policy := metav1.DeletePropagationBackground
		if *orphan {
			policy = metav1.DeletePropagationOrphan
		}
		d.Propagation = &policy
	}
	return d
}

// deleteCollection deletes what is selected, and answers with the list of it as it was.
func (c *call) deleteCollection() error {
	o, err := c.listOptions(false)
	if err != nil {
		return err
	}
	deleteOptions, err := c.deleteOptions()
	if err != nil {
		return err
	}
	page, err := c.s.state.List(c.ctx(), c.kind, state.ListOptions{
		Selector: o.selector, Limit: o.Limit, Continue: o.Continue, ResourceVersion: o.ResourceVersion, Match: o.ResourceVersionMatch})
	if err != nil {
		return err
	}
	deletion := c.deletion(deleteOptions)
	for _, entry := range page.Entries {
		_, _, err := c.s.state.Delete(c.ctx(), c.kind, entry.Namespace(), entry.Name(), deletion)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return c.listed(page)
}
