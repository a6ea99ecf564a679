package state_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// counting lets at most so many Secrets be, and counts them in the ConfigMap "count".
type counting struct {
	most  int
	turns bool
}

func (counting) Admit(context.Context, *state.Attributes) error { return nil }

func (c counting) Validate(ctx context.Context, a *state.Attributes) error {
	if a.Kind.Kind != "Secret" || a.Operation != state.OpCreate || a.DryRun {
		return nil
	}
	if c.turns {
		if err := a.InTurn(ctx, "count"); err != nil {
			return err
		}
	}
	live, _ := state.Get[*corev1.ConfigMap](a.Reader, "default", "count")
	count := live.DeepCopy()
	n, err := strconv.Atoi(count.Data["n"])
	if err != nil {
		return err
	}
	if n == c.most {
		return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, errors.New("full"))
	}
	count.Data["n"] = strconv.Itoa(n + 1)
	return a.Beside(count)
}

func secret(name string) *corev1.Secret {
	s := &corev1.Secret{}
	s.Namespace, s.Name = "default", name
	return s
}

func TestWhatIsWrittenBesideIsNeverOvertaken(t *testing.T) {
	for _, turns := range []bool{true, false} {
		t.Run(fmt.Sprintf("turns %v", turns), func(t *testing.T) {
			const writers, most = 40, 25
			h := start(t, memstore.New(), state.Options{Admission: counting{most, turns}})
			count := configMap("count")
			count.Data = map[string]string{"n": "0"}
			h.create(count)
			var all sync.WaitGroup
			results := make([]error, writers)
			for i := range writers {
				all.Go(func() { _, results[i] = state.Create(h.ctx, h.State, secret(fmt.Sprintf("s%d", i))) })
			}
			all.Wait()
			refused := 0
			for _, err := range results {
				if apierrors.IsForbidden(err) {
					refused++
				} else if err != nil {
					t.Error(err)
				}
			}
			got := len(state.List[*corev1.Secret](h.State, state.Selector{}))
			noted, _ := state.Get[*corev1.ConfigMap](h.State, "default", "count")
			if got != most || refused != writers-most || noted.Data["n"] != strconv.Itoa(most) {
				t.Errorf("%d were made, %d refused, %s noted", got, refused, noted.Data["n"])
			}
		})
	}
}

func TestTheTurnPassesOnAfterRefusals(t *testing.T) {
	h := start(t, memstore.New(), state.Options{Admission: counting{1, true}})
	count := configMap("count")
	count.Data = map[string]string{"n": "0"}
	h.create(count)
	h.create(secret("a"))
	for range 3 {
		if _, err := state.Create(h.ctx, h.State, secret("b")); !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
	}
	h.set("count", "0")
	if _, err := state.Update(h.ctx, h.State, "default", "count", func(c *corev1.ConfigMap) error {
		c.Data = map[string]string{"n": "0"}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Create(h.ctx, h.State, secret("a")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("created twice: %v", err)
	}
	if noted, _ := state.Get[*corev1.ConfigMap](h.State, "default", "count"); noted.Data["n"] != "0" {
		t.Error("a write that failed was counted")
	}
	h.create(secret("b"))
}

func TestDeletionsCanBeJoined(t *testing.T) {
	h := start(t, memstore.New(), state.Options{})
	victim, note := h.create(configMap("victim")), configMap("note")
	h.create(note)
	tries := 0
	join := func(_ context.Context, obj state.Object, c *state.Commit) error {
		note, _ := state.Get[*corev1.ConfigMap](h.State, "default", "note")
		noted := note.DeepCopy()
		noted.Data = map[string]string{"gone": obj.GetName()}
		if tries++; tries == 1 {
			h.set("note", "changed by another meanwhile")
		}
		return c.Beside(noted)
	}
	if _, gone := h.delete(victim, state.DeleteOptions{Join: join}); !gone {
		t.Error("it is still there")
	}
	noted, _ := state.Get[*corev1.ConfigMap](h.State, "default", "note")
	if tries != 2 || noted.Data["gone"] != "victim" {
		t.Errorf("after %d tries: %v", tries, noted.Data)
	}
	refuse := func(context.Context, state.Object, *state.Commit) error { return errors.New("no") }
	if _, _, err := h.Delete(h.ctx, h.configs(), "default", "note", state.DeleteOptions{Join: refuse}); err == nil || err.Error() != "no" {
		t.Error(err)
	}
}
