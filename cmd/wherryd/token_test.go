package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"wherry/cmd/wherryd/clustertest"
)

// access is what a container of the pod finds in /var/run/secrets/kubernetes.io/serviceaccount; "" for what is not there.
func access(t *testing.T, n *clustertest.Node, uid, file string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(n.Dir(), "pods", uid, "volumes", "kube-api-access-*", file))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		return ""
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// whoami asks the API with a token; nil if the token is refused.
func whoami(t *testing.T, c *clustertest.Cluster, token string) (user *authenticationv1.UserInfo) {
	t.Helper()
	c.As(token, func(client kubernetes.Interface) {
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		switch {
		case err == nil:
			user = &review.Status.UserInfo
		case !apierrors.IsUnauthorized(err):
			t.Error(err)
		}
	})
	return user
}

func TestAPodAsksAsItsServiceAccount(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		n := c.Node("n1")
		deploy(t, c, web(1))
		p := pods(t, c)[0]
		uid := string(p.UID)
		first := access(t, n, uid, "token")
		user := whoami(t, c, first)
		if user == nil || user.Username != "system:serviceaccount:default:default" || !slices.Contains(user.Groups, "system:serviceaccounts:default") ||
			user.Extra["authentication.kubernetes.io/pod-uid"][0] != uid || user.Extra["authentication.kubernetes.io/node-name"][0] != "n1" {
			t.Fatalf("the token is %+v's", user)
		}
		ca, err := c.Client.CoreV1().ConfigMaps("default").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if access(t, n, uid, "namespace") != "default" || access(t, n, uid, "ca.crt") != ca.Data["ca.crt"] {
			t.Error("namespace and CA are not beside the token")
		}
		journal, err := os.ReadFile(filepath.Join(n.Dir(), "journal.db"))
		if err != nil || strings.Contains(string(journal), first) {
			t.Errorf("the journal holds the token: %v", err)
		}

		time.Sleep(3607 * time.Second / 2)
		if access(t, n, uid, "token") != first {
			t.Error("the token was renewed too early")
		}
		time.Sleep(3607 * time.Second / 3)
		second := access(t, n, uid, "token")
		if second == first || whoami(t, c, second) == nil {
			t.Error("the token was not renewed after four fifths of its life")
		}

		// A reboot without the control plane: the pod comes back with what it had.
		c.Net.Cut(n.IP, true)
		n.Stop()
		n.Machine.Halt()
		begun := starts(n)
		n.Start()
		time.Sleep(time.Minute)
		if got := access(t, n, uid, "token"); got != second || starts(n) != begun+1 {
			t.Errorf("after the reboot %d containers were started, with the same token: %t", starts(n)-begun, got == second)
		}
		c.Net.Cut(n.IP, false)
		time.Sleep(2 * time.Minute)
		third := access(t, n, uid, "token")
		if third == second || whoami(t, c, third) == nil {
			t.Error("there is no new token once the control plane is back")
		}

		// Another account of the same name is another account.
		if err := c.Client.CoreV1().ServiceAccounts("default").Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if fourth := access(t, n, uid, "token"); whoami(t, c, third) != nil || fourth == third || whoami(t, c, fourth) == nil {
			t.Error("the account was replaced, and the token was not")
		}
		last := access(t, n, uid, "token")
		if err := c.Client.CoreV1().Pods("default").Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if whoami(t, c, last) != nil || access(t, n, uid, "token") != "" {
			t.Error("the pod is gone, and its token is still good or still there")
		}
	})
}

func TestTokensForOthers(t *testing.T) {
	clustertest.Run(t, func(t *testing.T, c *clustertest.Cluster) {
		n := c.Node("n1")
		life, no := int64(600), false
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p"},
			Spec: corev1.PodSpec{
				AutomountServiceAccountToken: &no,
				Containers:                   []corev1.Container{{Name: "c", Image: "web:v1", VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access-own", MountPath: "/t"}}}},
				Volumes: []corev1.Volume{{Name: "kube-api-access-own", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "vault", ExpirationSeconds: &life}}},
				}}}},
			},
		}
		p, err := c.Client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		token := access(t, n, string(p.UID), "token")
		review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
			t.Helper()
			r, err := c.Client.AuthenticationV1().TokenReviews().Create(t.Context(),
				&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return r.Status
		}
		if s := review(token, "vault", "x"); !s.Authenticated || s.User.Username != "system:serviceaccount:default:default" || !slices.Equal(s.Audiences, []string{"vault"}) {
			t.Errorf("for the vault: %+v", s)
		}
		if s := review(token); s.Authenticated || s.Error == "" || s.User.Username != "" || whoami(t, c, token) != nil {
			t.Errorf("for the API: %+v", s)
		}
		time.Sleep(481 * time.Second)
		next := access(t, n, string(p.UID), "token")
		if next == token {
			t.Error("it was not renewed")
		}
		time.Sleep(200 * time.Second)
		if review(token, "vault").Authenticated || !review(next, "vault").Authenticated {
			t.Error("the old one lives on, or the new one does not")
		}
	})
}
