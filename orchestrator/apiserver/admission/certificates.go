package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/state"
)

// Certificates is Kubernetes' CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who approves or
// signs a request must have that verb on its signer, and nobody asks for the group of administrators.
type Certificates struct{ Authorizer auth.Authorizer }

// Validate implements Validating.
func (c Certificates) Validate(ctx context.Context, a *state.Attributes) error {
	request, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || a.User == nil {
		return nil
	}
	old, _ := a.Old.(*certificatesv1.CertificateSigningRequest)
	switch {
	case a.Subresource == "":
		return checkSubject(a, request)
	case old == nil:
		return nil
	case a.Subresource == "approval":
		return c.may(ctx, a, "approve", old.Spec.SignerName)
	case slices.Equal(old.Status.Certificate, request.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, request.Status.Conditions):
		return nil
	}
	return c.may(ctx, a, "sign", old.Spec.SignerName)
}

// may asks about the signer, and about all signers of its domain.
func (c Certificates) may(ctx context.Context, a *state.Attributes, verb, signer string) error {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := c.Authorizer.Authorize(ctx, &auth.Attributes{
			User: auth.UserOf(a.User), Verb: verb, Resource: true, Group: certificatesv1.GroupName, Version: "*", Plural: "signers", Name: name})
		if err != nil {
			return forbidden(a, err)
		}
		if decision == auth.Allow {
			return nil
		}
	}
	return forbidden(a, fmt.Errorf("user not permitted to %s requests with signerName %q", verb, signer))
}

func checkSubject(a *state.Attributes, request *certificatesv1.CertificateSigningRequest) error {
	if request.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := parseRequest(request.Spec.Request)
	switch {
	case err != nil:
		return forbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	case slices.Contains(parsed.Subject.Organization, auth.GroupMasters):
		return forbidden(a, fmt.Errorf("use of %s signer with system:masters group is not allowed", request.Spec.SignerName))
	}
	return nil
}

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
