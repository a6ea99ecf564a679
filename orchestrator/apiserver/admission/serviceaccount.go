package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"wherry/orchestrator/state"
	"wherry/orchestrator/token"
)

const (
	defaultServiceAccount = "default"
	tokenVolumePrefix     = "kube-api-access-"
	tokenMountPath        = "/var/run/secrets/kubernetes.io/serviceaccount"
	enforceMountable      = "kubernetes.io/enforce-mountable-secrets"
)

// The account "default" of a new namespace is made by a controller: who is quicker waits for it this long.
const (
	accountAttempts = 10
	accountPause    = 100 * time.Millisecond
)

// ServiceAccount gives a pod its account: its name, a volume with a token, and the secrets for pulling images. It refuses
// pods whose account does not exist, and those that take other Secrets than a strict account lists.
type ServiceAccount struct{}

// Admit implements Mutating. A mirror pod is refused here already, before NodeRestriction words it otherwise.
func (s ServiceAccount) Admit(ctx context.Context, a *state.Attributes) error {
	pod := podOf(a)
	if pod == nil || a.Operation != state.OpCreate {
		return nil
	}
	if isMirror(pod) {
		return s.Validate(ctx, a)
	}
	spec := &pod.Spec
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = defaultServiceAccount
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	account, err := accountOf(ctx, a, spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if automount(account, spec) {
		mountToken(spec)
	}
	if len(spec.ImagePullSecrets) == 0 {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	return nil
}

// Validate implements Validating.
func (ServiceAccount) Validate(ctx context.Context, a *state.Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	switch {
	case !ok:
		return nil
	case a.Operation == state.OpUpdate && a.Subresource == "ephemeralcontainers":
		return limit(ctx, a, pod, ephemeral(pod))
	case a.Operation != state.OpCreate || a.Subresource != "":
		return nil
	case isMirror(pod):
		if err := refuseMirror(pod); err != nil {
			return forbidden(a, err)
		}
		return nil
	}
	return limit(ctx, a, pod, all(pod))
}

func isMirror(p *corev1.Pod) bool {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// refuseMirror: what a node runs on its own must not take what is the cluster's.
func refuseMirror(p *corev1.Pod) error {
	if p.Spec.ServiceAccountName != "" {
		return errors.New("a mirror pod may not reference service accounts")
	}
	for _, u := range all(p) {
		if u.secret != "" {
			return errors.New("a mirror pod may not reference secrets")
		}
	}
	if len(p.Spec.ImagePullSecrets) > 0 {
		return errors.New("a mirror pod may not reference secrets")
	}
	for _, v := range p.Spec.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
			return errors.New("a mirror pod may not use ServiceAccountToken volume projections")
		}
	}
	return nil
}

// accountOf finds a pod's account.
func accountOf(ctx context.Context, a *state.Attributes, name string) (*corev1.ServiceAccount, error) {
	for attempt := 1; ; attempt++ {
		if account, found := state.Get[*corev1.ServiceAccount](a.Reader, a.Namespace, name); found {
			return account, nil
		}
		if name != defaultServiceAccount || attempt == accountAttempts {
			return nil, forbidden(a, fmt.Errorf("error looking up service account %s/%s: serviceaccount %q not found", a.Namespace, name, name))
		}
		timer := time.NewTimer(accountPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// automount asks the pod, then its account.
func automount(account *corev1.ServiceAccount, spec *corev1.PodSpec) bool {
	for _, said := range []*bool{spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken} {
		if said != nil {
			return *said
		}
	}
	return true
}

// mountToken mounts a volume with a token where in-cluster clients look for it, in all containers that have nothing there.
func mountToken(spec *corev1.PodSpec) {
	i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, tokenVolumePrefix) })
	name := tokenVolumePrefix + rand.String(5)
	if i >= 0 {
		name = spec.Volumes[i].Name
	}
	mounted := false
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for j := range containers {
			c := &containers[j]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenMountPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
			mounted = true
		}
	}
	if mounted && i < 0 {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenVolume()}})
	}
}

func tokenVolume() *corev1.ProjectedVolumeSource {
	mode, life := int32(0o644), int64(token.LifeInPods)
	return &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &life}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}
}

// use is a Secret that a pod takes, and where, as it is told when it must not.
type use struct{ secret, where string }

// all are the Secrets of volumes and of the environments of containers.
func all(p *corev1.Pod) (uses []use) {
	for _, v := range p.Spec.Volumes {
		if v.Secret != nil {
			uses = append(uses, use{v.Secret.SecretName, fmt.Sprintf("volume with secret.secretName=%q", v.Secret.SecretName)})
		}
	}
	for _, c := range p.Spec.InitContainers {
		uses = append(uses, environment("init container", c.Name, c.Env, c.EnvFrom)...)
	}
	for _, c := range p.Spec.Containers {
		uses = append(uses, environment("container", c.Name, c.Env, c.EnvFrom)...)
	}
	return uses
}

func ephemeral(p *corev1.Pod) (uses []use) {
	for _, c := range p.Spec.EphemeralContainers {
		uses = append(uses, environment("ephemeral container", c.Name, c.Env, c.EnvFrom)...)
	}
	return uses
}

func environment(kind, name string, env []corev1.EnvVar, from []corev1.EnvFromSource) (uses []use) {
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			s := e.ValueFrom.SecretKeyRef.Name
			uses = append(uses, use{s, fmt.Sprintf("%s %s with envVar %s referencing secret.secretName=%q", kind, name, e.Name, s)})
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			s := f.SecretRef.Name
			uses = append(uses, use{s, fmt.Sprintf("%s %s with envFrom referencing secret.secretName=%q", kind, name, s)})
		}
	}
	return uses
}

// limit refuses Secrets that a strict account does not list.
func limit(ctx context.Context, a *state.Attributes, p *corev1.Pod, uses []use) error {
	account, err := accountOf(ctx, a, p.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if strict, err := strconv.ParseBool(account.Annotations[enforceMountable]); err != nil || !strict {
		return nil
	}
	for _, u := range uses {
		if !slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == u.secret }) {
			return forbidden(a, fmt.Errorf("%s is not allowed because service account %s does not reference that secret", u.where, account.Name))
		}
	}
	if a.Operation != state.OpCreate {
		return nil
	}
	for i, s := range p.Spec.ImagePullSecrets {
		if !slices.Contains(account.ImagePullSecrets, s) {
			return forbidden(a, fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, s.Name, account.Name))
		}
	}
	return nil
}
