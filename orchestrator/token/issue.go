package token

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/state"
)

// Lives of tokens, in seconds.
const (
	minLife     = 10 * 60
	maxLife     = 1 << 32
	defaultLife = 60 * 60
	// LifeInPods is what admission asks for. Old clients read their token once only: if it is for the API, it is
	// good for a year, and says from when on it should have been read again.
	LifeInPods   = 60*60 + 7
	extendedLife = 365 * 24 * 60 * 60
)

var requestKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// Request answers a TokenRequest for a service account: r is completed, with the token in its status. Errors: NotFound,
// Invalid, BadRequest, Conflict.
func (t *Tokens) Request(namespace, name string, r *authenticationv1.TokenRequest) error {
	if err := matches(namespace, name, r); err != nil {
		return err
	}
	account, ok := state.Get[*corev1.ServiceAccount](t.State, namespace, name)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("serviceaccounts"), name)
	}
	if r.UID != "" && r.UID != account.UID {
		return conflict(name, "the UID in the token request (%s) does not match the UID of the service account (%s)", r.UID, account.UID)
	}
	r.Name, r.Namespace, r.UID = name, namespace, account.UID
	t.setDefaults(r)
	if errs := validate(r); len(errs) > 0 {
		return apierrors.NewInvalid(requestKind.GroupKind(), "", errs)
	}
	b, err := t.bind(account, r.Spec.BoundObjectRef)
	if err != nil {
		return err
	}
	return t.answer(r, b)
}

// matches refuses a request that says that it is for somebody else than its URL.
func matches(namespace, name string, r *authenticationv1.TokenRequest) error {
	var errs field.ErrorList
	if r.Name != "" && r.Name != name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), r.Name, "must match the service account name if specified"))
	} else if r.Namespace != "" && r.Namespace != namespace {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "namespace"), r.Namespace, "must match the service account namespace if specified"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(requestKind.GroupKind(), name, errs)
	}
	return nil
}

func (t *Tokens) setDefaults(r *authenticationv1.TokenRequest) {
	if len(r.Spec.Audiences) == 0 {
		r.Spec.Audiences = slices.Clone(t.Audiences)
	}
	if r.Spec.ExpirationSeconds == nil {
		life := int64(defaultLife)
		r.Spec.ExpirationSeconds = &life
	}
}

func validate(r *authenticationv1.TokenRequest) (errs field.ErrorList) {
	path, seconds := field.NewPath("spec", "expirationSeconds"), *r.Spec.ExpirationSeconds
	if seconds < minLife {
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > maxLife {
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

func conflict(name, format string, args ...any) error {
	return apierrors.NewConflict(schema.GroupResource{Group: requestKind.Group, Resource: requestKind.Kind}, name, fmt.Errorf(format, args...))
}

// bind is the claim for an account and, unless to is nil, for what the token is to be bound to.
func (t *Tokens) bind(account *corev1.ServiceAccount, to *authenticationv1.BoundObjectReference) (*bound, error) {
	b := &bound{Namespace: account.Namespace, Account: refTo(account)}
	if to == nil {
		return b, nil
	}
	var uid types.UID
	gvk := schema.FromAPIVersionAndKind(to.APIVersion, to.Kind)
	switch {
	case gvk.Group == "" && gvk.Kind == "Pod":
		pod, ok := state.Get[*corev1.Pod](t.State, account.Namespace, to.Name)
		if !ok {
			return nil, apierrors.NewNotFound(corev1.Resource("pods"), to.Name)
		}
		if pod.Spec.ServiceAccountName != account.Name {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		uid = pod.UID
		t.bindPod(b, pod)
	case gvk.Group == "" && gvk.Kind == "Node":
		node, ok := state.Get[*corev1.Node](t.State, "", to.Name)
		if !ok {
			return nil, apierrors.NewNotFound(corev1.Resource("nodes"), to.Name)
		}
		r := refTo(node)
		uid, b.Node = node.UID, &r
	case gvk.Group == "" && gvk.Kind == "Secret":
		secret, ok := state.Get[*corev1.Secret](t.State, account.Namespace, to.Name)
		if !ok {
			return nil, apierrors.NewNotFound(corev1.Resource("secrets"), to.Name)
		}
		r := refTo(secret)
		uid, b.Secret = secret.UID, &r
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if to.UID != "" && to.UID != uid {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, to.Name, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", to.UID))
	}
	return b, nil
}

// bindPod names the pod, and its node if it has one.
func (t *Tokens) bindPod(b *bound, pod *corev1.Pod) {
	r := refTo(pod)
	b.Pod = &r
	if pod.Spec.NodeName == "" {
		return
	}
	b.Node = &ref{Name: pod.Spec.NodeName}
	if node, ok := state.Get[*corev1.Node](t.State, "", pod.Spec.NodeName); ok {
		b.Node.UID = string(node.UID)
	}
}

func refTo(obj state.Object) ref { return ref{Name: obj.GetName(), UID: string(obj.GetUID())} }

// answer signs a token for b as r asks.
func (t *Tokens) answer(r *authenticationv1.TokenRequest, b *bound) error {
	now, asked := time.Now(), *r.Spec.ExpirationSeconds
	life := asked
	if b.Pod != nil && asked == LifeInPods && containsAll(t.Audiences, r.Spec.Audiences) {
		b.WarnAfter = jwt.NewNumericDate(now.Add(seconds(asked)))
		life = extendedLife
	}
	token, err := t.sign(&claims{
		Kubernetes: b,
		Claims: jwt.Claims{
			Issuer: t.Issuers[0], Subject: username(b.Namespace, b.Account.Name), Audience: r.Spec.Audiences, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(seconds(life))),
		},
	})
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	r.CreationTimestamp = metav1.NewTime(now)
	r.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(now.Add(seconds(asked)))}
	return nil
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func containsAll(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

func username(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// ForPod makes the token that a pod's projected volume asks for. An empty audience means the API; life is in
// seconds, 0 means an hour. Errors: those of Request.
func (t *Tokens) ForPod(pod *corev1.Pod, audience string, life int64) (token string, expires time.Time, err error) {
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		r.Spec.Audiences = []string{audience}
	}
	if life != 0 {
		r.Spec.ExpirationSeconds = &life
	}
	if err := t.Request(pod.Namespace, pod.Spec.ServiceAccountName, r); err != nil {
		return "", time.Time{}, err
	}
	return r.Status.Token, r.Status.ExpirationTimestamp.Time, nil
}
