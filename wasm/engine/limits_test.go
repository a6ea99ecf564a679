package engine

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wherry/wasm/wasmtest"
)

func TestLimitsIsShared(t *testing.T) {
	e, _ := newEngine(t, Config{})
	b := NewLimits(8<<20, 0)
	m := compile(t, e, wasmtest.Endless()["spin"])
	p := m.Prepare("tenant", "test", b, 0)
	var running sync.WaitGroup
	running.Go(func() { _, _ = p.Run(same) })
	<-p.Started()
	if !b.account.take(8<<20 - b.account.used.Load()) { // what the first one may take
		t.Fatal("there is no memory")
	}
	result, err := compile(t, e, wasmtest.Hungry()).Prepare("tenant", "other", b, 0).Run(same)
	if err != nil || !result.OOMKilled {
		t.Errorf("the second one had memory: %+v, %v", result, err)
	}
	p.Kill()
	running.Wait()
}

func TestLimitsGetsMemoryBack(t *testing.T) {
	e, _ := newEngine(t, Config{})
	b := NewLimits(8<<20, 0)
	for range 3 {
		if _, err := compile(t, e, wasmtest.Hungry()).Prepare("tenant", "test", b, 0).Run(same); err != nil {
			t.Fatal(err)
		}
		if _, memory := b.Usage(); memory != 0 {
			t.Errorf("%d bytes are left", memory)
		}
	}
}

func TestCPULimitOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewLimits(0, 500)
		begin := time.Now()
		var all sync.WaitGroup
		for range 2 { // each with half a second's work, in half a core
			all.Go(func() {
				c := newClock(b)
				c.now = func() moment { return moment{time: time.Now()} }
				c.start()
				for done := time.Duration(0); done < 500*time.Millisecond; done += time.Millisecond {
					time.Sleep(time.Millisecond)
					now, _ := c.pause()
					for wait := c.over(now.time); wait > 0; wait = c.over(time.Now()) {
						sleep(wait, nil)
					}
					c.resume()
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took < 1800*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("a second's work took %v", took)
		}
	})
}
