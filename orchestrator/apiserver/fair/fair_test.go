package fair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

func ptr[T any](v T) *T { return &v }

func limited(name string, shares, lendable int32, q *flowcontrolv1.QueuingConfiguration) *flowcontrolv1.PriorityLevelConfiguration {
	l := &flowcontrolv1.PriorityLevelConfiguration{}
	l.Name = name
	l.UID = "level-" + "uid"
	l.Spec.Type = flowcontrolv1.PriorityLevelEnablementLimited
	l.Spec.Limited = &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares, LendablePercent: &lendable, BorrowingLimitPercent: ptr[int32](0)}
	l.Spec.Limited.LimitResponse.Type = flowcontrolv1.LimitResponseTypeReject
	if q != nil {
		l.Spec.Limited.LimitResponse = flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: q}
	}
	return l
}

func everybody(name, level string, precedence int32) *flowcontrolv1.FlowSchema {
	f := &flowcontrolv1.FlowSchema{}
	f.Name, f.UID = name, "schema-uid"
	f.Spec.MatchingPrecedence = precedence
	f.Spec.PriorityLevelConfiguration.Name = level
	f.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType}
	f.Spec.Rules = []flowcontrolv1.PolicyRulesWithSubjects{{
		Subjects:      []flowcontrolv1.Subject{{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: "*"}}},
		ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true, Namespaces: []string{"*"}}},
	}}
	return f
}

func request(user string) Request {
	return Request{User: user, Verb: "get", Resource: true, Plural: "pods"}
}

// small is four seats and sixteen queues of ten.
func small() *Sharer {
	s := New(4)
	s.Configure([]*flowcontrolv1.FlowSchema{everybody("all", "work", 100)}, []*flowcontrolv1.PriorityLevelConfiguration{
		limited("work", 100, 0, &flowcontrolv1.QueuingConfiguration{Queues: 64, HandSize: 4, QueueLengthLimit: 10}),
		limited(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, 0, 0, nil),
	})
	return s
}

// One client asks two hundred times at once, others once in a while: they hardly wait, and are never refused.
func TestFloodHarmsTheFlooderOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := small()
		var served, refused atomic.Int32
		var work sync.WaitGroup
		ask := func(user string) error {
			ticket, err := s.Admit(t.Context(), request(user))
			if err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
			ticket.Release()
			ticket.Release() // once more does nothing
			return nil
		}
		for range 200 {
			work.Go(func() {
				var why *Refused
				switch err := ask("flood"); {
				case err == nil:
					served.Add(1)
				case errors.As(err, &why) && why.Reason == QueueFull:
					refused.Add(1)
				default:
					t.Errorf("flood: %v", err)
				}
			})
		}
		synctest.Wait()
		for i := range 20 {
			work.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				begin := time.Now()
				if err := ask(fmt.Sprint("calm", i)); err != nil {
					t.Errorf("calm: %v", err)
				}
				if took := time.Since(begin); took > 800*time.Millisecond {
					t.Errorf("calm waited %v", took)
				}
			})
		}
		work.Wait()
		if served.Load() != 44 || refused.Load() != 156 {
			t.Errorf("of the flood %d were served, %d refused", served.Load(), refused.Load())
		}
		for name, l := range s.levels {
			if l.inUse != 0 || l.waiting != 0 {
				t.Errorf("%s: %d in use, %d wait", name, l.inUse, l.waiting)
			}
		}
	})
}

func TestWaitsHaveAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := small()
		var tickets []*Ticket
		for range 4 {
			ticket, err := s.Admit(t.Context(), request("a"))
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
		}
		begin := time.Now()
		var why *Refused
		if _, err := s.Admit(t.Context(), request("b")); !errors.As(err, &why) || why.Reason != TimeOut || time.Since(begin) != MaxWait {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Admit(gone, request("b")); !errors.As(err, &why) || why.Reason != Canceled {
			t.Errorf("a client that left: %v", err)
		}
		if _, err := s.Admit(t.Context(), Request{User: "admin", Groups: []string{"system:masters"}, Path: "/metrics"}); err != nil {
			t.Errorf("an administrator waits: %v", err)
		}
		for _, ticket := range tickets {
			ticket.Release()
		}
		if _, err := s.Admit(t.Context(), request("b")); err != nil {
			t.Error(err)
		}
	})
}

func TestRejectingLevels(t *testing.T) {
	s := New(2)
	s.Configure([]*flowcontrolv1.FlowSchema{everybody("all", "work", 100)}, []*flowcontrolv1.PriorityLevelConfiguration{
		limited("work", 1, 0, nil), limited(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, 1, 0, nil)})
	ticket, err := s.Admit(t.Context(), request("a"))
	if err != nil || ticket.FlowSchema != "schema-uid" || ticket.PriorityLevel != "level-uid" {
		t.Fatalf("%+v, %v", ticket, err)
	}
	var why *Refused
	if _, err := s.Admit(t.Context(), request("b")); !errors.As(err, &why) || why.Reason != ConcurrencyLimit {
		t.Error(err)
	}
}

// Idle seats are lent, and no more than that.
func TestBorrowing(t *testing.T) {
	s := New(10)
	lender := limited("lender", 5, 60, nil)
	borrower := limited("borrower", 5, 0, nil)
	borrower.Spec.Limited.BorrowingLimitPercent = ptr[int32](100)
	s.Configure([]*flowcontrolv1.FlowSchema{everybody("all", "borrower", 100)}, []*flowcontrolv1.PriorityLevelConfiguration{
		lender, borrower, limited(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, 0, 0, nil)})
	n := 0
	for ; n < 20; n++ {
		if _, err := s.Admit(t.Context(), request("a")); err != nil {
			break
		}
	}
	if n != 8 { // five of its own, three of five lent
		t.Errorf("%d seats", n)
	}
}

// What waits is not lost when the objects change.
func TestReconfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := small()
		var tickets []*Ticket
		for range 4 {
			ticket, _ := s.Admit(t.Context(), request("a"))
			tickets = append(tickets, ticket)
		}
		var waiting sync.WaitGroup
		for range 8 {
			waiting.Go(func() {
				ticket, err := s.Admit(t.Context(), request("a"))
				if err != nil {
					t.Error(err)
					return
				}
				ticket.Release()
			})
		}
		synctest.Wait()
		s.Configure([]*flowcontrolv1.FlowSchema{everybody("all", "work", 100)}, []*flowcontrolv1.PriorityLevelConfiguration{
			limited("work", 100, 0, &flowcontrolv1.QueuingConfiguration{Queues: 4, HandSize: 2, QueueLengthLimit: 2})})
		tickets[0].Release()
		waiting.Wait()
		s.Configure(nil, nil) // the level has gone: who sits at it ends as ever
		for _, ticket := range tickets {
			ticket.Release()
		}
	})
}

func TestDeal(t *testing.T) {
	for flow := range 1000 {
		cards := deal(hash("s", fmt.Sprint(flow)), 128, 6)
		slices.Sort(cards)
		if len(slices.Compact(cards)) != 6 || cards[0] < 0 || cards[5] > 127 {
			t.Fatalf("%v", cards)
		}
	}
	if cards := deal(7, 3, 9); len(cards) != 3 {
		t.Errorf("%v", cards)
	}
}

func TestMatching(t *testing.T) {
	rules := flowcontrolv1.PolicyRulesWithSubjects{
		Subjects: []flowcontrolv1.Subject{
			{Kind: "User", User: &flowcontrolv1.UserSubject{Name: "jane"}},
			{Kind: "Group", Group: &flowcontrolv1.GroupSubject{Name: "nodes"}},
			{Kind: "ServiceAccount", ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: "kube-system", Name: "*"}},
		},
		ResourceRules: []flowcontrolv1.ResourcePolicyRule{
			{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Namespaces: []string{"default"}},
			{Verbs: []string{"*"}, APIGroups: []string{"apps"}, Resources: []string{"*"}, ClusterScope: true},
		},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/live*"}}},
	}
	schema := &flowcontrolv1.FlowSchema{}
	schema.Spec.Rules = []flowcontrolv1.PolicyRulesWithSubjects{rules}
	for _, tt := range []struct {
		r    Request
		want bool
	}{
		{Request{User: "jane", Verb: "get", Resource: true, Plural: "pods", Namespace: "default"}, true},
		{Request{User: "joe", Verb: "get", Resource: true, Plural: "pods", Namespace: "default"}, false},
		{Request{User: "joe", Groups: []string{"nodes"}, Verb: "list", Resource: true, Plural: "pods", Subresource: "log", Namespace: "default"}, true},
		{Request{User: "jane", Verb: "get", Resource: true, Plural: "pods", Subresource: "exec", Namespace: "default"}, false},
		{Request{User: "jane", Verb: "list", Resource: true, Plural: "pods"}, false},
		{Request{User: "jane", Verb: "get", Resource: true, Plural: "pods", Namespace: "other"}, false},
		{Request{User: "jane", Verb: "delete", Resource: true, Plural: "pods", Namespace: "default"}, false},
		{Request{User: "system:serviceaccount:kube-system:x", Verb: "patch", Resource: true, Group: "apps", Plural: "deployments"}, true},
		{Request{User: "system:serviceaccount:default:x", Verb: "patch", Resource: true, Group: "apps", Plural: "deployments"}, false},
		{Request{User: "jane", Verb: "patch", Resource: true, Group: "apps", Plural: "deployments", Namespace: "default"}, false},
		{Request{User: "jane", Verb: "get", Path: "/livez"}, true},
		{Request{User: "jane", Verb: "get", Path: "/healthz/x"}, false},
		{Request{User: "jane", Verb: "post", Path: "/healthz"}, false},
	} {
		if got := tt.r.matches(schema); got != tt.want {
			t.Errorf("%+v: %v", tt.r, got)
		}
	}
}
