package admission_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/admission/policy"
	"wherry/orchestrator/apiserver/admission/webhook"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// BenchmarkCreatePod is what the rules cost a pod, with no quota and under one.
func BenchmarkCreatePod(b *testing.B) {
	hooks := webhook.New(webhook.Config{})
	all := admission.Default(hooks.Mutating(), policy.NewValidating(nil), hooks.Validating())
	for name, test := range map[string]struct {
		rules state.Admission
		quota bool
	}{"no rules": {nil, false}, "rules": {all, false}, "quota": {all, true}} {
		b.Run(name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New(), Admission: test.rules})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			defer func() { cancel(); <-done }()
			if _, err := state.Create(ctx, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}); err != nil {
				b.Fatal(err)
			}
			if _, err := state.Create(ctx, s, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
				b.Fatal(err)
			}
			if test.quota {
				limit(b, s, corev1.ResourceQuotaSpec{Hard: resources("pods", "100M")})
			}
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p := pod(func(p *corev1.Pod) { p.Name = fmt.Sprintf("p%d", n.Add(1)) })
					if _, err := state.Create(ctx, s, p); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
