package runtime

import (
	"testing"
	"testing/synctest"
)

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue()
		for range 3 {
			for i := range 100 {
				q.Put(ID{Pod: "p", Attempt: i})
			}
		}
		// The first one may be on its way out already and then comes again.
		seen := map[ID]int{}
		for done := false; !done; {
			synctest.Wait()
			select {
			case id := <-q.C():
				seen[id]++
			default:
				done = true
			}
		}
		if len(seen) != 100 {
			t.Errorf("%d of 100 IDs came", len(seen))
		}
		for id, n := range seen {
			if n > 1 && id.Attempt > 0 {
				t.Errorf("%v came %d times", id, n)
			}
		}
		q.Put(ID{Pod: "unread"})
		q.Close()
		q.Put(ID{Pod: "late"})
	})
}
