package fake

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/runtimetest"
)

func guest(args ...string) runtime.Spec {
	return runtime.Spec{Image: runtime.Image{Kind: "fake"}, Args: args}
}

func suite() runtimetest.Driver {
	return runtimetest.Driver{
		In:       synctest.Test,
		Forever:  guest(),
		Stubborn: guest("ignore-term"),
		Exits0:   guest("run=0s"),
		Exits3:   guest("run=0s", "exit=3"),
		Prints:   guest("run=1s", "log=hello"),
		Invalid:  guest("invalid=no such file"),
		Cat:      []string{"cat"}, Exit3: []string{"exit", "3"}, Sleep: []string{"sleep"},
	}
}

func TestAttached(t *testing.T) {
	d := suite()
	d.New = func(*testing.T) runtime.Runtime { return (&Machine{Attached: true}).Driver() }
	runtimetest.Run(t, d)
}

func TestDetached(t *testing.T) {
	d := suite()
	d.New = func(t *testing.T) runtime.Runtime {
		m := &Machine{}
		t.Cleanup(m.Halt)
		return m.Driver()
	}
	d.Reopen = func(_ *testing.T, old runtime.Runtime) runtime.Runtime { return old.(*Driver).Machine().Driver() }
	runtimetest.Run(t, d)
}

func TestScript(t *testing.T) {
	tests := []struct {
		args   []string
		grace  time.Duration // of a Stop right away; negative: none
		took   time.Duration
		code   int
		reason string
	}{
		{[]string{"run=10s", "exit=1"}, -1, 10 * time.Second, 1, "Error"},
		{[]string{"run=1m", "oom"}, -1, time.Minute, 137, "OOMKilled"},
		{[]string{"term=2s"}, 5 * time.Second, 2 * time.Second, 0, "Completed"},
		{[]string{"term=2s", "exit=4"}, time.Second, time.Second, 137, "Error"},
		{[]string{"ignore-term"}, 30 * time.Second, 30 * time.Second, 137, "Error"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			d := New()
			spec := guest(tt.args...)
			if err := d.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			if tt.grace >= 0 {
				if err := d.Stop(t.Context(), spec.ID, tt.grace); err != nil {
					t.Fatal(err)
				}
			} else {
				<-time.After(tt.took)
				synctest.Wait()
			}
			all, err := d.Observe(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			got := all[0]
			if got.State != runtime.Exited || got.ExitCode != tt.code || got.Reason != tt.reason || got.Finished.Sub(got.Started) != tt.took {
				t.Errorf("%v: %+v", tt.args, got)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New()
		spec := guest()
		spec.ID = runtime.ID{Pod: "p", Container: "c", Attempt: 2}
		if err := d.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if err := d.Remove(t.Context(), spec.ID); err == nil {
			t.Error("removed while running")
		}
		if err := d.Stop(t.Context(), spec.ID, time.Second); err != nil {
			t.Fatal(err)
		}
		want := []string{"start p/c/2", "remove p/c/2", "stop p/c/2 1s"}
		if got := d.Machine().Calls(); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
