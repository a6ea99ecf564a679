package controller

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"

	"wherry/orchestrator/state"
)

// History is the pod templates that a StatefulSet or DaemonSet has had, as ControllerRevisions.
// Each holds the template as the patch that `kubectl rollout undo` applies.
type History struct {
	State    *state.State
	Owner    state.Object
	Ref      metav1.OwnerReference
	Selector labels.Selector
	// HashLabel is what the revisions carry their hash under.
	HashLabel string
	// Collisions is the owner's status.collisionCount, which names depend on; it may be raised.
	Collisions *int32
}

// maxRevisionPrefix leaves room for a hash in the name of a revision.
const maxRevisionPrefix = 223

// Of returns the revisions, the oldest first, and among them the one of the given template, which
// is made, or made the newest, if it is not.
func (h *History) Of(ctx context.Context, template *corev1.PodTemplateSpec) ([]*appsv1.ControllerRevision, *appsv1.ControllerRevision, error) {
	data, err := patchOf(template)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the template: %w", err)
	}
	all, err := Claim[*appsv1.ControllerRevision](ctx, h.State, h.Owner, h.Ref, h.Selector)
	if err != nil {
		return nil, nil, err
	}
	sortRevisions(all)
	i := slices.IndexFunc(all, func(r *appsv1.ControllerRevision) bool { return bytes.Equal(r.Data.Raw, data) })
	next := int64(1)
	if n := len(all); n > 0 {
		next = all[n-1].Revision + 1
	}
	var wanted *appsv1.ControllerRevision
	switch {
	case i < 0:
		if wanted, err = h.make(ctx, template.Labels, data, next); err == nil {
			all = append(all, wanted)
		}
	case i < len(all)-1:
		wanted, err = state.Update(ctx, h.State, all[i].Namespace, all[i].Name, func(r *appsv1.ControllerRevision) error {
			r.Revision = next
			return nil
		})
		all = append(slices.Delete(all, i, i+1), wanted)
	default:
		wanted = all[i]
	}
	if err != nil {
		return nil, nil, fmt.Errorf("noting a revision of the template: %w", err)
	}
	return all, wanted, nil
}

func sortRevisions(all []*appsv1.ControllerRevision) {
	slices.SortFunc(all, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// make creates a revision. A name that another one has is no error: the next hash is another.
func (h *History) make(ctx context.Context, podLabels map[string]string, data []byte, number int64) (*appsv1.ControllerRevision, error) {
	for {
		hash := hashOf(data, *h.Collisions)
		r := &appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: data}, Revision: number}
		prefix := h.Owner.GetName()
		r.Namespace, r.Name = h.Owner.GetNamespace(), prefix[:min(len(prefix), maxRevisionPrefix)]+"-"+hash
		r.Labels = map[string]string{}
		maps.Copy(r.Labels, podLabels)
		r.Labels[h.HashLabel] = hash
		r.OwnerReferences = []metav1.OwnerReference{h.Ref}
		made, err := state.Create(ctx, h.State, r)
		if !apierrors.IsAlreadyExists(err) {
			return made, err
		}
		*h.Collisions++
	}
}

func hashOf(data []byte, collisions int32) string {
	f := fnv.New32()
	f.Write(data) //nolint:errcheck // never fails
	f.Write([]byte(strconv.Itoa(int(collisions))))
	return rand.SafeEncodeString(strconv.FormatUint(uint64(f.Sum32()), 10))
}

// Trim deletes the oldest revisions that are not in use until no more than limit of such are left.
func (h *History) Trim(ctx context.Context, all []*appsv1.ControllerRevision, limit *int32, used map[string]bool) error {
	idle := slices.DeleteFunc(slices.Clone(all), func(r *appsv1.ControllerRevision) bool { return used[r.Name] })
	for i := 0; limit != nil && i < len(idle)-int(*limit); i++ {
		err := state.Delete[*appsv1.ControllerRevision](ctx, h.State, idle[i].Namespace, idle[i].Name, state.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting revision %s: %w", idle[i].Name, err)
		}
	}
	return nil
}

// patchOf is {"spec":{"template":{...,"$patch":"replace"}}}.
func patchOf(template *corev1.PodTemplateSpec) ([]byte, error) {
	data, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// TemplateOf is the template of a revision.
func TemplateOf(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", r.Name, err)
	}
	return &patch.Spec.Template, nil
}
