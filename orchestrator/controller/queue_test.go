package controller

import (
	"testing"
	"testing/synctest"
	"time"
)

func key(name string) Key { return Key{Name: name} }

func TestQueueHandsOutEachKeyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(key("a"))
		q.add(key("b"))
		q.add(key("a"))
		first, _ := q.get()
		q.add(first) // while it is worked on
		second, _ := q.get()
		if first != key("a") || second != key("b") {
			t.Fatalf("%v, %v", first, second)
		}
		q.done(second, 0)
		q.done(first, 0)
		if again, _ := q.get(); again != first {
			t.Fatalf("%v", again)
		}
		q.done(first, 0)
		if len(q.entries) != 0 {
			t.Errorf("%d keys are remembered", len(q.entries))
		}
		waiting := make(chan bool)
		go func() {
			_, ok := q.get()
			waiting <- ok
		}()
		synctest.Wait()
		q.close()
		if <-waiting {
			t.Error("a key out of a closed queue")
		}
	})
}

func TestQueueBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(key("a"))
		start := time.Now()
		for range 5 {
			k, _ := q.get()
			q.failed(k)
		}
		k, _ := q.get()
		if took := time.Since(start); took != (1+2+4+8+16)*firstBackoff {
			t.Errorf("five failures took %s", took)
		}
		q.done(k, time.Hour)
		start = time.Now()
		k, _ = q.get()
		if took := time.Since(start); took != time.Hour {
			t.Errorf("again after %s", took)
		}
		q.done(k, time.Hour)
		q.add(key("a")) // sooner than asked
		k, _ = q.get()
		q.done(k, 0)
		q.close()
	})
}
