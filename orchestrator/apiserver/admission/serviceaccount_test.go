package admission_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

func TestPodsGetATokenVolume(t *testing.T) {
	s := open(t)
	got, err := state.Create(t.Context(), s, pod(func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i"}}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: "own", Image: "i", VolumeMounts: []corev1.VolumeMount{{Name: "mine", MountPath: tokenPath}},
		})
		p.Spec.Volumes = []corev1.Volume{{Name: "mine", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	v := got.Spec.Volumes[1]
	suffix, ok := strings.CutPrefix(v.Name, "kube-api-access-")
	if !ok || len(suffix) != 5 {
		t.Errorf("the volume's name is %s", v.Name)
	}
	v.Name = ""
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	const want = `name: ""
projected:
  defaultMode: 420
  sources:
  - serviceAccountToken:
      expirationSeconds: 3607
      path: token
  - configMap:
      items:
      - key: ca.crt
        path: ca.crt
      name: kube-root-ca.crt
  - downwardAPI:
      items:
      - fieldRef:
          apiVersion: v1
          fieldPath: metadata.namespace
        path: namespace
`
	if string(text) != want {
		t.Errorf("%s", text)
	}
	for name, mounts := range map[string][]corev1.VolumeMount{"i": got.Spec.InitContainers[0].VolumeMounts, "c": got.Spec.Containers[0].VolumeMounts} {
		if len(mounts) != 1 || mounts[0].MountPath != tokenPath || !mounts[0].ReadOnly || mounts[0].Name != "kube-api-access-"+suffix {
			t.Errorf("%s mounts %v", name, mounts)
		}
	}
	if mounts := got.Spec.Containers[1].VolumeMounts; len(mounts) != 1 || mounts[0].Name != "mine" {
		t.Errorf("what has its own there mounts %v", mounts)
	}
}

func TestWhoGetsNoTokenVolume(t *testing.T) {
	s := open(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "quiet"}, AutomountServiceAccountToken: ptr(false)}
	if _, err := state.Create(t.Context(), s, account); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		account string
		pod     *bool
		want    bool
	}{
		{"default", nil, true}, {"default", ptr(false), false}, {"quiet", nil, false}, {"quiet", ptr(true), true},
	} {
		got, err := state.Create(t.Context(), s, pod(func(p *corev1.Pod) {
			p.Name, p.GenerateName = "", "p-"
			p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = test.account, test.pod
		}))
		if err != nil || (len(got.Spec.Volumes) == 1) != test.want {
			t.Errorf("%s, %v: %v, %v", test.account, test.pod, got.Spec.Volumes, err)
		}
	}
}

func TestStrictAccounts(t *testing.T) {
	s := open(t)
	strict := &corev1.ServiceAccount{
		ObjectMeta:       metav1.ObjectMeta{Namespace: "default", Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets:          []corev1.ObjectReference{{Name: "listed"}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
	}
	if _, err := state.Create(t.Context(), s, strict); err != nil {
		t.Fatal(err)
	}
	env := func(secret string) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "k"}}}}
	}
	for _, test := range []struct {
		change func(*corev1.PodSpec)
		err    string
	}{
		{func(p *corev1.PodSpec) { p.Containers[0].Env = env("listed") }, ""},
		{func(p *corev1.PodSpec) { p.Containers[0].Env = env("other") },
			`pods "p" is forbidden: container c with envVar E referencing secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{func(p *corev1.PodSpec) {
			p.InitContainers = []corev1.Container{{Name: "i", Image: "i", Env: env("other")}}
		},
			`pods "p" is forbidden: init container i with envVar E referencing secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{func(p *corev1.PodSpec) {
			p.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}}}}
		}, `pods "p" is forbidden: container c with envFrom referencing secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{func(p *corev1.PodSpec) {
			p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "other"}}}}
		}, `pods "p" is forbidden: volume with secret.secretName="other" is not allowed because service account strict does not reference that secret`},
		{func(p *corev1.PodSpec) { p.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "other"}} },
			`pods "p" is forbidden: imagePullSecrets[0].name="other" is not allowed because service account strict does not reference that imagePullSecret`},
	} {
		p := pod(func(p *corev1.Pod) {
			p.Spec.ServiceAccountName = "strict"
			test.change(&p.Spec)
		})
		_, _, err := create(t, s, p)
		if got := message(err); got != test.err {
			t.Errorf("got  %s\nwant %s", got, test.err)
		}
	}
}

// create tries without writing.
func create(t *testing.T, s *state.State, p *corev1.Pod) (state.Object, bool, error) {
	kind, _ := s.Kinds().For(p)
	obj, err := s.Create(t.Context(), kind, p, state.CreateOptions{DryRun: true})
	return obj, false, err
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAPodWaitsForTheAccountOfANewNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New(), Admission: admission.Default()})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			<-done
		}()
		if _, err := state.Create(ctx, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		const want = `pods "p" is forbidden: error looking up service account default/default: serviceaccount "default" not found`
		if _, err := state.Create(ctx, s, pod(nil)); message(err) != want || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(500*time.Millisecond, func() {
			if _, err := state.Create(ctx, s, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
				t.Error(err)
			}
		})
		if _, err := state.Create(ctx, s, pod(nil)); err != nil {
			t.Error(err)
		}
	})
}
