// Package csr is what Kubernetes' controllers do with CertificateSigningRequests: it approves
// those of nodes that may have a client certificate, signs what is approved for Kubernetes' own
// signers, and removes old ones.
package csr

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Authority signs.
type Authority interface {
	// SignRequest makes the certificate (PEM) that a request asks for, valid for life and good for the usages.
	SignRequest(request *x509.CertificateRequest, usage x509.KeyUsage, extended []x509.ExtKeyUsage, life time.Duration) ([]byte, error)
}

// Config is what the controller needs.
type Config struct {
	State     *state.State
	Authority Authority
	// May says whether a user may create a subresource of certificatesigningrequests: by that Kubernetes decides
	// whose requests are approved at once.
	May func(ctx context.Context, user *authenticationv1.UserInfo, subresource string) (bool, error)
}

// New returns the controller. Its keys are requests.
func New(c Config) controller.Controller {
	return controller.Controller{
		Name:      "csr",
		Sources:   []controller.Source{controller.On(controller.Self[*certificatesv1.CertificateSigningRequest])},
		Reconcile: (&requests{c}).reconcile,
	}
}

type requests struct{ Config }

func (c *requests) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	csr, ok := state.Get[*certificatesv1.CertificateSigningRequest](c.State, "", key.Name)
	if !ok {
		return 0, nil
	}
	if left := lifetime(csr); left <= 0 {
		return 0, settled(c.remove(ctx, csr))
	}
	err := c.approve(ctx, csr)
	if err == nil {
		err = c.sign(ctx, csr)
	}
	return lifetime(csr), settled(err)
}

// settled forgives what another event will wake us for, or what no longer matters.
func settled(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (c *requests) remove(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	return state.Delete[*certificatesv1.CertificateSigningRequest](ctx, c.State, "", csr.Name,
		state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &csr.UID}})
}

// parse reads the request that is in csr.
func parse(csr *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

func condition(csr *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	for _, c := range csr.Status.Conditions {
		if c.Type == t && c.Status != corev1.ConditionFalse {
			return true
		}
	}
	return false
}

// approve approves a client certificate of a node, if who asks for it may have one.
func (c *requests) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	if len(csr.Status.Certificate) > 0 || condition(csr, certificatesv1.CertificateApproved) || condition(csr, certificatesv1.CertificateDenied) {
		return nil
	}
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	request, err := parse(csr)
	if err != nil || checkNodeClient(request, csr.Spec.Usages) != nil {
		return nil // somebody may look at it
	}
	user := userOf(csr)
	if user.Username == request.Subject.CommonName {
		may, err := c.May(ctx, user, "selfnodeclient")
		if err != nil {
			return err
		}
		if may {
			return c.approved(ctx, csr, "Auto approving self kubelet client certificate after SubjectAccessReview.")
		}
	}
	may, err := c.May(ctx, user, "nodeclient")
	if err != nil || !may {
		return err
	}
	return c.approved(ctx, csr, "Auto approving kubelet client certificate after SubjectAccessReview.")
}

func userOf(csr *certificatesv1.CertificateSigningRequest) *authenticationv1.UserInfo {
	user := &authenticationv1.UserInfo{Username: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups}
	for key, values := range csr.Spec.Extra {
		if user.Extra == nil {
			user.Extra = map[string]authenticationv1.ExtraValue{}
		}
		user.Extra[key] = authenticationv1.ExtraValue(values)
	}
	return user
}

func (c *requests) approved(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, why string) error {
	return c.change(ctx, csr, "approval", func(live *certificatesv1.CertificateSigningRequest) {
		addCondition(live, certificatesv1.CertificateApproved, "AutoApproved", why)
	})
}

func addCondition(csr *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType, reason, message string) {
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastUpdateTime: metav1.Now()})
}

// change writes csr through a subresource, if it is still the one that was looked at.
func (c *requests) change(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string, change func(*certificatesv1.CertificateSigningRequest)) error {
	kind, _ := c.State.Kinds().For(csr)
	_, _, err := c.State.Update(ctx, kind, "", csr.Name, func(live state.Object) (state.Object, error) {
		if live == nil || live.GetResourceVersion() != csr.ResourceVersion {
			return nil, apierrors.NewConflict(kind.GroupResource(), csr.Name, errors.New("it has changed"))
		}
		change(live.(*certificatesv1.CertificateSigningRequest))
		return live, nil
	}, state.UpdateOptions{Subresource: subresource})
	return err
}

// sign gives an approved request of a signer of ours its certificate, or says why not.
func (c *requests) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	check, ours := signers[csr.Spec.SignerName]
	if !ours || len(csr.Status.Certificate) > 0 || !condition(csr, certificatesv1.CertificateApproved) ||
		condition(csr, certificatesv1.CertificateDenied) || condition(csr, certificatesv1.CertificateFailed) {
		return nil
	}
	certificate, err := c.certificate(csr, check)
	if err != nil {
		return c.change(ctx, csr, "status", func(live *certificatesv1.CertificateSigningRequest) {
			addCondition(live, certificatesv1.CertificateFailed, "SignerValidationFailure", err.Error())
		})
	}
	return c.change(ctx, csr, "status", func(live *certificatesv1.CertificateSigningRequest) { live.Status.Certificate = certificate })
}

func (c *requests) certificate(csr *certificatesv1.CertificateSigningRequest, check check) ([]byte, error) {
	request, err := parse(csr)
	if err != nil {
		return nil, fmt.Errorf("unable to parse csr %q: %w", csr.Name, err)
	}
	if err := check(request, csr.Spec.Usages); err != nil {
		return nil, err
	}
	usage, extended, err := usages(csr.Spec.Usages)
	if err != nil {
		return nil, err
	}
	return c.Authority.SignRequest(request, usage, extended, life(csr.Spec.ExpirationSeconds))
}

// What is asked for is honoured between these.
const (
	minLife = 10 * time.Minute
	maxLife = 365 * 24 * time.Hour
)

func life(asked *int32) time.Duration {
	if asked == nil {
		return maxLife
	}
	return min(max(time.Duration(*asked)*time.Second, minLife), maxLife)
}
