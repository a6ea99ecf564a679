package usage

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/fake"
)

// meter measures a machine that uses half a processor, with one fake container, which uses a thousandth.
func meter(t *testing.T) (*Meter, *fake.Driver) {
	began := time.Now()
	d := (&fake.Machine{Attached: true}).Driver()
	if err := d.Start(t.Context(), runtime.Spec{ID: runtime.ID{Pod: "u1", Container: "app"}}); err != nil {
		t.Fatal(err)
	}
	machine := func() Point {
		now := time.Now()
		return Point{At: now, CPU: time.Hour + now.Sub(began)/2, MemoryBytes: 1 << 30}
	}
	return &Meter{Runtimes: []runtime.Runtime{d}, Machine: machine, Log: slog.New(slog.DiscardHandler)}, d
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d := meter(t)
		defer d.Close()
		for _, step := range []struct {
			after, machine, container, waits time.Duration
		}{
			{0, time.Second, time.Second, time.Second}, // the first one waits
			{4 * time.Second, 5 * time.Second, 5 * time.Second, 0},
			{10 * time.Second, 10 * time.Second, 10 * time.Second, 0}, // since the newest point that is old enough
			{6 * time.Second, 16 * time.Second, 16 * time.Second, 0},
			{time.Hour, time.Second, time.Second, time.Second}, // nobody has asked for long
			{time.Second, 2 * time.Second, 2 * time.Second, 0},
		} {
			<-time.After(step.after)
			asked := time.Now()
			machine, all := m.Now(t.Context())
			if waited := time.Since(asked); waited != step.waits {
				t.Errorf("after %v: waited for %v, not %v", step.after, waited, step.waits)
			}
			if machine.Window != step.machine || machine.NanoCores != 5e8 || machine.MemoryBytes != 1<<30 {
				t.Errorf("after %v: the machine: %+v, not over %v", step.after, machine, step.machine)
			}
			if len(all) != 1 || all[0].Window != step.container || all[0].NanoCores != 1e6 || all[0].MemoryBytes != 1<<20 {
				t.Errorf("after %v: containers: %+v, not over %v", step.after, all, step.container)
			}
		}
	})
}

// A container that began within the last minute has been measured at its start.
func TestYoungContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d := meter(t)
		defer d.Close()
		m.Now(t.Context())
		<-time.After(2 * time.Second)
		if err := d.Start(t.Context(), runtime.Spec{ID: runtime.ID{Pod: "u2", Container: "late"}}); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Second)
		_, all := m.Now(t.Context())
		windows := map[string]time.Duration{}
		for _, c := range all {
			windows[c.ID.Container] = c.Window
		}
		if len(all) != 2 || windows["late"] != 3*time.Second || windows["app"] != 6*time.Second {
			t.Errorf("%v", windows)
		}
	})
}

func TestEndedContainersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d := meter(t)
		defer d.Close()
		m.Now(t.Context())
		d.Machine().Exit(runtime.ID{Pod: "u1", Container: "app"}, 0)
		synctest.Wait()
		if _, all := m.Now(t.Context()); len(all) != 0 || len(m.containers) != 0 {
			t.Errorf("%v, and %d are kept", all, len(m.containers))
		}
	})
}
