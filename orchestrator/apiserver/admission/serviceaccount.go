package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

const defaultServiceAccount = "default"

// ServiceAccount names the account that a pod runs as, and hands it that account's
// secrets for pulling images. The account "default" may be missing: it then has nothing to hand on.
type ServiceAccount struct{}

// Admit implements state.Admission.
func (ServiceAccount) Admit(_ context.Context, a *state.Attributes) error {
	pod := podOf(a)
	if pod == nil || a.Operation != state.OpCreate {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = pod.Spec.DeprecatedServiceAccount
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultServiceAccount
	}
	name := pod.Spec.ServiceAccountName
	pod.Spec.DeprecatedServiceAccount = name
	account, found := state.Get[*corev1.ServiceAccount](a.Reader, a.Namespace, name)
	if !found {
		if name == defaultServiceAccount {
			return nil
		}
		return forbidden(a, fmt.Errorf("error looking up service account %s/%s: serviceaccount %q not found", a.Namespace, name, name))
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	return nil
}
