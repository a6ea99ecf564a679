package event_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/state/event"
	"wherry/orchestrator/store/memstore"
)

// bubble runs test with a state and a writer in virtual time.
func bubble(t *testing.T, test func(t *testing.T, s *state.State, r *event.Recorder)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := state.Open(t.Context(), memstore.New(), state.Options{Kinds: resource.New()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		w := event.New(s, nil)
		g.Go(func() error { return w.Run(ctx) })
		test(t, s, w.Recorder("tester", "test"))
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func events(s *state.State) []*corev1.Event {
	synctest.Wait()
	return state.List[*corev1.Event](s, state.Selector{})
}

var pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u"}}

func TestEventSaysWhatHappened(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		r.Eventf(pod, corev1.EventTypeWarning, "Failed", "%d of %d", 1, 2)
		got := events(s)
		if len(got) != 1 {
			t.Fatalf("events: %v", got)
		}
		e := got[0]
		want := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "a", Name: "p", UID: "u"}
		if e.InvolvedObject != want || e.Message != "1 of 2" || e.Reason != "Failed" || e.Count != 1 ||
			e.Type != "Warning" || e.Source.Component != "tester" || e.Namespace != "a" {
			t.Errorf("event: %+v", e)
		}
	})
}

func TestRepetitionsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		for range 3 {
			r.Eventf(pod, corev1.EventTypeNormal, "Again", "same")
			time.Sleep(time.Second) // virtual
		}
		got := events(s)
		if len(got) != 1 || got[0].Count != 3 || got[0].LastTimestamp.Sub(got[0].FirstTimestamp.Time) != 2*time.Second {
			t.Errorf("events: %+v", got)
		}
	})
}

func TestRepetitionAfterDeletionIsNew(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		r.Eventf(pod, corev1.EventTypeNormal, "Again", "same")
		first := events(s)[0]
		if err := state.Delete[*corev1.Event](t.Context(), s, first.Namespace, first.Name, state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.Eventf(pod, corev1.EventTypeNormal, "Again", "same")
		if got := events(s); len(got) != 1 || got[0].Count != 1 {
			t.Errorf("events: %+v", got)
		}
	})
}

func TestManySimilarAreCombined(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		for i := range 15 {
			r.Eventf(pod, corev1.EventTypeNormal, "Similar", "number %d", i)
		}
		got := events(s)
		var sum int32
		combined := 0
		for _, e := range got {
			sum += e.Count
			if strings.HasPrefix(e.Message, "(combined from similar events): ") {
				combined++
			}
		}
		if len(got) != 11 || sum != 15 || combined != 1 {
			t.Errorf("%d events, %d combined, counting %d: want 11, 1, 15", len(got), combined, sum)
		}
	})
}

func TestOneObjectCannotFlood(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		for i := range 100 {
			r.Eventf(pod, corev1.EventTypeNormal, fmt.Sprintf("Reason%d", i), "x")
		}
		if got := events(s); len(got) != 25 {
			t.Errorf("%d events, want 25", len(got))
		}
	})
}

func TestOldEventsGo(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		r.Eventf(pod, corev1.EventTypeNormal, "Old", "x")
		time.Sleep(event.Lifetime / 2) // virtual
		r.Eventf(pod, corev1.EventTypeNormal, "Young", "x")
		time.Sleep(event.Lifetime/2 + 10*time.Minute) // virtual
		if got := events(s); len(got) != 1 || got[0].Reason != "Young" {
			t.Errorf("events: %+v", got)
		}
	})
}

func TestLongNamesAreShortened(t *testing.T) {
	bubble(t, func(t *testing.T, s *state.State, r *event.Recorder) {
		long := pod.DeepCopy()
		long.Name = strings.Repeat("x", 235) + "-" + strings.Repeat("y", 17)
		r.Eventf(long, corev1.EventTypeNormal, "Long", "x")
		if got := events(s); len(got) != 1 || got[0].InvolvedObject.Name != long.Name {
			t.Errorf("events: %+v", got)
		}
	})
}

func TestNilRecorderIsSilent(t *testing.T) {
	var r *event.Recorder
	r.Eventf(pod, corev1.EventTypeNormal, "Nothing", "happens")
}
