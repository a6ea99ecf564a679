package uplink

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/proto/link"
	"wherry/proto/link/memlink"
	"wherry/proto/nodelink"
)

func TestBackoffGrowsToABoundAndIsSpread(t *testing.T) {
	var b backoff
	seen := map[time.Duration]bool{}
	for i := range 200 {
		d := b.next(false)
		if d < 250*time.Millisecond || d > 45*time.Second || i == 0 && d > time.Second || i > 10 && d < 15*time.Second {
			t.Errorf("try %d waits %v", i, d)
		}
		seen[d] = true
	}
	if len(seen) < 150 {
		t.Errorf("only %d different waits", len(seen))
	}
	if d := (&backoff{}).next(true); d < 15*time.Second {
		t.Errorf("somebody must act, but it waits %v", d)
	}
}

func podNamed(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
}

// drain lists what would be sent now.
func drain(u *Uplink) (all []*nodelink.Report) {
	for r := u.reports.next(); r != nil; r = u.reports.next() {
		all = append(all, r)
	}
	return all
}

func newTestUplink() *Uplink {
	return &Uplink{reports: newReports(), log: slog.New(slog.DiscardHandler)}
}

func phase(p corev1.PodPhase) *corev1.PodStatus { return &corev1.PodStatus{Phase: p} }

func phaseOf(t *testing.T, r *nodelink.Report) corev1.PodPhase {
	t.Helper()
	s := &corev1.PodStatus{}
	if err := s.Unmarshal(r.GetPod().GetStatus()); err != nil {
		t.Fatal(err)
	}
	return s.Phase
}

func TestTheNewestStatusIsSentUntilAcknowledged(t *testing.T) {
	u := newTestUplink()
	u.Status(podNamed("a"), phase(corev1.PodPending), false)
	u.Status(podNamed("a"), phase(corev1.PodRunning), false)
	first := drain(u)
	if len(first) != 1 || phaseOf(t, first[0]) != corev1.PodRunning {
		t.Fatalf("sent %v", first)
	}
	// What changes while it flies waits for its acknowledgement.
	u.Status(podNamed("a"), phase(corev1.PodSucceeded), true)
	if more := drain(u); len(more) != 0 {
		t.Fatalf("two at once: %v", more)
	}
	u.reports.settle(first[0].Seq)
	second := drain(u)
	if len(second) != 1 || phaseOf(t, second[0]) != corev1.PodSucceeded || !second[0].GetPod().Gone || second[0].Seq == first[0].Seq {
		t.Fatalf("sent %v", second)
	}
	u.reports.settle(first[0].Seq) // again: nothing
	// The session broke: it is sent again, before what is newer.
	u.Status(podNamed("b"), phase(corev1.PodRunning), false)
	u.reports.restart()
	third := drain(u)
	if len(third) != 2 || third[0].GetPod().Name != "a" || third[1].GetPod().Name != "b" {
		t.Fatalf("sent %v", third)
	}
	u.reports.settle(second[0].Seq) // of the broken session
	for _, r := range third {
		u.reports.settle(r.Seq)
	}
	if u.reports.restart(); len(drain(u)) != 0 || len(u.reports.all) != 0 {
		t.Error("something is left")
	}
}

func TestEventsAreBounded(t *testing.T) {
	u := newTestUplink()
	event := func(name, message string) {
		u.Event(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Message: message})
	}
	u.Status(podNamed("a"), phase(corev1.PodRunning), false)
	for i := range maxEvents + 10 {
		event(fmt.Sprint(i), "first")
	}
	event("500", "again")
	all := drain(u)
	if len(all) != maxEvents+1 || all[0].GetPod() == nil {
		t.Fatalf("%d reports", len(all))
	}
	var names, messages []string
	for _, r := range all[1:] {
		e := &corev1.Event{}
		if err := e.Unmarshal(r.GetEvent()); err != nil {
			t.Fatal(err)
		}
		names, messages = append(names, e.Name), append(messages, e.Message)
	}
	if slices.Contains(names, "9") || names[0] != "10" || messages[slices.Index(names, "500")] != "again" {
		t.Errorf("first %s, %d in all", names[0], len(names))
	}
}

func TestAClockThatWasNeverSet(t *testing.T) {
	issued := time.Now().Add(10 * 365 * 24 * time.Hour)
	if got := atLeast(issued); got.Before(issued) {
		t.Errorf("it is %v, before the certificate was made", got)
	}
	past := time.Now().Add(-time.Hour)
	if got := atLeast(past); time.Since(got) > time.Minute {
		t.Errorf("a right clock is not believed: %v", got)
	}
}

func TestPinnedWantsTheCAItself(t *testing.T) {
	leaf := &x509.Certificate{RawSubjectPublicKeyInfo: []byte("key")}
	if _, err := pinned([]*x509.Certificate{leaf}, nodelink.KeyHash([]byte("key"))); !errors.Is(err, errOtherCluster) {
		t.Errorf("a certificate that is no CA's: %v", err)
	}
	if _, err := pinned(nil, nodelink.KeyHash([]byte("key"))); !errors.Is(err, errOtherCluster) {
		t.Errorf("no certificate: %v", err)
	}
}

// nothing is a journal that keeps nothing.
type nothing struct{}

func (nothing) Have() ([]*nodelink.Have, error)             { return nil, nil }
func (nothing) Apply(context.Context, *nodelink.Feed) error { return nil }

// FuzzConversation sends bytes where the control plane speaks: the session ends, the agent goes on.
func FuzzConversation(f *testing.F) {
	wire := func(messages ...*nodelink.ServerMessage) []byte {
		var b bytes.Buffer
		for _, m := range messages {
			if err := nodelink.WriteMessage(&b, m); err != nil {
				f.Fatal(err)
			}
		}
		return b.Bytes()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	welcome := &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Welcome{Welcome: &nodelink.Welcome{Version: 1, HeartbeatSeconds: -5}}}
	f.Add(wire(welcome, &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Renewed{Renewed: &nodelink.Renewed{Certificate: [][]byte{[]byte("x")}}}}))
	f.Add(wire(welcome, &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Ack{Ack: &nodelink.Ack{Seq: 9, Refused: "no"}}}))
	f.Add(wire(welcome, &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Feed{}}, &nodelink.ServerMessage{Body: &nodelink.ServerMessage_Refusal{}}))
	f.Add(wire(&nodelink.ServerMessage{Body: &nodelink.ServerMessage_Refusal{Refusal: &nodelink.Refusal{Message: "no", Permanent: true}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			here, there := memlink.Pipe("n1", "key", link.ProtocolNode)
			u := newTestUplink()
			u.identity = &identity{node: "n1", cert: &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}, key: key}
			u.config = Config{NodeName: "n1", Journal: nothing{}, Node: func() *corev1.Node { return &corev1.Node{} }}
			ended := make(chan error, 1)
			go func() { ended <- u.converse(t.Context(), here) }()
			control, err := there.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			control.Write(b) // the agent may have had enough
			control.CloseWrite()
			if stream, err := there.Open(t.Context()); err == nil {
				stream.Write(b)
				stream.Close()
			}
			if err := <-ended; err == nil {
				t.Error("the session ended without a reason")
			}
		})
	})
}
