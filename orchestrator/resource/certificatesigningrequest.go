package resource

import (
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/kubernetes/pkg/apis/certificates/validation"
)

func certificateSigningRequests() *Kind {
	return &Kind{
		GroupVersionKind:    certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
		Plural:              "certificatesigningrequests",
		Singular:            "certificatesigningrequest",
		ShortNames:          []string{"csr"},
		New:                 newObject[certificatesv1.CertificateSigningRequest],
		NewList:             newList[certificatesv1.CertificateSigningRequestList],
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(r *certificatesv1.CertificateSigningRequest) {
			r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
			r.Status = certificatesv1.CertificateSigningRequestStatus{}
		}),
		CreatedBy: func(obj Object, user authenticationv1.UserInfo) {
			spec := &obj.(*certificatesv1.CertificateSigningRequest).Spec
			spec.Username, spec.UID, spec.Groups = user.Username, user.UID, user.Groups
			if len(user.Extra) > 0 {
				spec.Extra = map[string]certificatesv1.ExtraValue{}
			}
			for k, v := range user.Extra {
				spec.Extra[k] = certificatesv1.ExtraValue(v)
			}
		},
		PrepareForUpdate: typedUpdate(func(r, old *certificatesv1.CertificateSigningRequest) {
			r.Spec, r.Status = *old.Spec.DeepCopy(), *old.Status.DeepCopy()
		}),
		Validate:       validate(validation.ValidateCertificateSigningRequestCreate),
		ValidateUpdate: validateUpdate(validation.ValidateCertificateSigningRequestUpdate),
		Resets:         resets(specField, statusField),

		Fields: func(obj Object) fields.Set {
			return fields.Set{"spec.signerName": obj.(*certificatesv1.CertificateSigningRequest).Spec.SignerName}
		},
		FieldNames: []string{"spec.signerName"},
		Columns:    signingRequestColumns(),
		Row:        row(signingRequestRow),
		Subresources: map[string]*Subresource{
			"status": {
				PrepareForUpdate: typedUpdate(prepareSigningRequestStatus),
				ValidateUpdate:   validateUpdate(validation.ValidateCertificateSigningRequestStatusUpdate),
				Resets:           resets(specField, []any{"status", "conditions"}),
			},
			"approval": {
				PrepareForUpdate: typedUpdate(prepareApproval),
				ValidateUpdate:   validateUpdate(validation.ValidateCertificateSigningRequestApprovalUpdate),
				Resets:           resets(specField, []any{"status", "certificate"}),
			},
		},
	}
}

// prepareSigningRequestStatus lets a signer write everything but what an approver has.
func prepareSigningRequestStatus(r, old *certificatesv1.CertificateSigningRequest) {
	r.Spec = *old.Spec.DeepCopy()
	keepConditions(r, old, certificatesv1.CertificateApproved)
	keepConditions(r, old, certificatesv1.CertificateDenied)
	dateConditions(r, old)
}

// prepareApproval lets an approver write conditions.
func prepareApproval(r, old *certificatesv1.CertificateSigningRequest) {
	dateConditions(r, old)
	conditions := r.Status.Conditions
	r.Spec, r.Status = *old.Spec.DeepCopy(), *old.Status.DeepCopy()
	r.Status.Conditions = conditions
}

// keepConditions restores the conditions of one type; validation minds if their number has changed.
func keepConditions(r, old *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) {
	places := func(r *certificatesv1.CertificateSigningRequest) (at []int) {
		for i, c := range r.Status.Conditions {
			if c.Type == t {
				at = append(at, i)
			}
		}
		return at
	}
	to, from := places(r), places(old)
	if len(to) != len(from) {
		return
	}
	for i := range to {
		r.Status.Conditions[to[i]] = old.Status.Conditions[from[i]]
	}
}

// dateConditions completes the times that a writer leaves out.
func dateConditions(r, old *certificatesv1.CertificateSigningRequest) {
	now := metav1.Now()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range old.Status.Conditions {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
				break
			}
		}
	}
}

func signingRequestColumns() []metav1.TableColumnDefinition {
	spec := certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		ageColumn,
		column("SignerName", "string", spec["signerName"]),
		column("Requestor", "string", spec["request"]),
		column("RequestedDuration", "string", spec["expirationSeconds"]),
		column("Condition", "string", certificatesv1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"]),
	}
}

func signingRequestRow(r *certificatesv1.CertificateSigningRequest) []any {
	asked := "<none>"
	if s := r.Spec.ExpirationSeconds; s != nil {
		asked = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{r.Name, age(r), orNone(r.Spec.SignerName), r.Spec.Username, asked, signingRequestStatus(r)}
}

func signingRequestStatus(r *certificatesv1.CertificateSigningRequest) string {
	is := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range r.Status.Conditions {
		is[c.Type] = true
	}
	status := "Pending"
	switch {
	case is[certificatesv1.CertificateDenied]:
		status = "Denied"
	case is[certificatesv1.CertificateApproved]:
		status = "Approved"
	}
	if is[certificatesv1.CertificateFailed] {
		status += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		status += ",Issued"
	}
	return status
}
