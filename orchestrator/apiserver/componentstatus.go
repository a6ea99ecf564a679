//lint:file-ignore SA1019 ComponentStatuses are served as long as clients ask for them.

package apiserver

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

var componentStatuses = corev1.SchemeGroupVersion.WithResource("componentstatuses")

// computed are handlers of a kind whose objects are made when they are asked for.
var computed = map[string]handler{"get": (*call).componentStatus, "list": (*call).componentStatuses}

// components says how the parts do that other clusters run apart, under the names that they have there. The
// controllers and the scheduler are part of this process, which ends when one of them does.
func (c *call) components() []*corev1.ComponentStatus {
	all := []*corev1.ComponentStatus{component("controller-manager", nil), component("etcd-0", nil), component("scheduler", nil)}
	for _, check := range c.s.cfg.Live {
		if err := check.Run(c.ctx()); check.Name == "store" && err != nil {
			all[1] = component("etcd-0", err)
		}
	}
	return all
}

func component(name string, err error) *corev1.ComponentStatus {
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err != nil {
		condition.Status, condition.Message, condition.Error = corev1.ConditionFalse, "", err.Error()
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{condition}}
}

func (c *call) componentStatus() error {
	for _, status := range c.components() {
		if status.Name == c.at.name {
			return c.object(http.StatusOK, status)
		}
	}
	return apierrors.NewNotFound(c.kind.GroupResource(), c.at.name)
}

func (c *call) componentStatuses() error {
	o, err := c.listOptions(false)
	if err != nil {
		return err
	}
	var selected []*corev1.ComponentStatus
	for _, status := range c.components() {
		named := o.selector.Fields == nil || o.selector.Fields.Matches(fields.Set{"metadata.name": status.Name})
		if named && (o.selector.Labels == nil || o.selector.Labels.Matches(labels.Set{})) {
			selected = append(selected, status)
		}
	}
	return c.page(metav1.ListMeta{}, len(selected), func(i int) item { return c.s.item(c.kind, selected[i]) })
}
