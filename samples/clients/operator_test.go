package clients_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Harbour is a kind of the operator's own: it keeps a ConfigMap with its greeting.
type Harbour struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              struct {
		Greeting string `json:"greeting"`
	} `json:"spec"`
	Status struct {
		Greeted string `json:"greeted,omitempty"`
	} `json:"status,omitempty"`
}

// HarbourList is a list of them.
type HarbourList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Harbour `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (h *Harbour) DeepCopyObject() runtime.Object {
	c := *h
	h.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// DeepCopyObject implements runtime.Object.
func (l *HarbourList) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = nil
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopyObject().(*Harbour))
	}
	return &c
}

const finalizer = "example.com/farewell"

// operator is what people write with controller-runtime: a cached client, owned objects, a status, a finalizer.
type operator struct{ client.Client }

func (o operator) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	h := &Harbour{}
	if err := o.Get(ctx, r.NamespacedName, h); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !h.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(h, finalizer) {
			return ctrl.Result{}, o.Update(ctx, h)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(h, finalizer) {
		if err := o.Update(ctx, h); err != nil {
			return ctrl.Result{}, err
		}
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.Namespace, Name: h.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, o.Client, m, func() error {
		m.Data = map[string]string{"greeting": h.Spec.Greeting}
		return controllerutil.SetControllerReference(h, m, o.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	before := h.DeepCopyObject().(*Harbour)
	h.Status.Greeted = h.Spec.Greeting
	return ctrl.Result{}, o.Status().Patch(ctx, h, client.MergeFrom(before))
}

func TestControllerRuntime(t *testing.T) {
	config := cluster(t)
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(gv, &Harbour{}, &HarbourList{})
	metav1.AddToGroupVersion(scheme, gv)
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	define(ctx, t, direct)
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, LeaderElection: true, LeaderElectionID: "harbours", LeaderElectionNamespace: "default",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctrl.NewControllerManagedBy(m).For(&Harbour{}).Owns(&corev1.ConfigMap{}).Complete(operator{m.GetClient()}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Start(running) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	harbours(ctx, t, direct)
}

func define(ctx context.Context, t *testing.T, c client.Client) {
	text := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"greeting": {Type: "string"}, "greeted": {Type: "string"}}}
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "harbours.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "harbours", Kind: "Harbour", ListKind: "HarbourList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": text, "status": text},
				}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
	if err := c.Create(ctx, crd); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "the kind is established", func() bool {
		if err := c.Get(ctx, client.ObjectKeyFromObject(crd), crd); err != nil {
			return false
		}
		for _, cond := range crd.Status.Conditions {
			if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

// harbours makes one, changes it, spoils what it owns, and deletes it.
func harbours(ctx context.Context, t *testing.T, c client.Client) {
	h := &Harbour{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kiel"}}
	h.Spec.Greeting = "Moin"
	if err := c.Create(ctx, h); err != nil {
		t.Fatal(err)
	}
	key, m := client.ObjectKeyFromObject(h), &corev1.ConfigMap{}
	greets := func(greeting string) func() bool {
		return func() bool { return c.Get(ctx, key, m) == nil && m.Data["greeting"] == greeting }
	}
	until(ctx, t, "the ConfigMap is made", greets("Moin"))
	until(ctx, t, "the status says so", func() bool { return c.Get(ctx, key, h) == nil && h.Status.Greeted == "Moin" })
	m.Data["greeting"] = "spoilt"
	if err := c.Update(ctx, m); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "it is mended", greets("Moin"))
	h.Spec.Greeting = "Ahoi"
	if err := c.Update(ctx, h); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "the change arrives", greets("Ahoi"))
	if err := c.Delete(ctx, h); err != nil {
		t.Fatal(err)
	}
	gone := func(o client.Object) func() bool {
		return func() bool { return apierrors.IsNotFound(c.Get(ctx, key, o)) }
	}
	until(ctx, t, "it is gone", gone(h))
	until(ctx, t, "and so is what it owned", gone(m))
}

// until waits for something that is going to be so.
func until(ctx context.Context, t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}
