package definition

import (
	"fmt"
	"net/url"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

const approvedAnnotation = apiextensionsv1.KubeAPIApprovedAnnotation

// Approval is what the annotation api-approved.kubernetes.io says of an API in a group of the Kubernetes project.
type Approval int

// The approvals.
const (
	Missing Approval = iota
	Unreadable
	Approved
	Bypassed // it says that it is not approved
)

// Protected says that a group is the Kubernetes project's.
func Protected(group string) bool {
	for _, domain := range []string{"k8s.io", "kubernetes.io"} {
		if group == domain || strings.HasSuffix(group, "."+domain) {
			return true
		}
	}
	return false
}

// ApprovalOf reads the annotation, and says what it found.
func ApprovalOf(annotations map[string]string) (Approval, string) {
	text := annotations[approvedAnnotation]
	const see = "see https://github.com/kubernetes/enhancements/pull/1111"
	u, err := url.ParseRequestURI(text)
	switch {
	case text == "":
		return Missing, fmt.Sprintf("protected groups must have approval annotation %q, %s", approvedAnnotation, see)
	case strings.HasPrefix(text, "unapproved"):
		return Bypassed, fmt.Sprintf("not approved: %q", text)
	case err == nil && u.Host != "" && u.Scheme != "":
		return Approved, fmt.Sprintf("approved in %v", text)
	}
	return Unreadable, fmt.Sprintf("protected groups must have approval annotation %q with either a URL or a reason starting with \"unapproved\", %s", approvedAnnotation, see)
}
