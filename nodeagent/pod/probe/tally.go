package probe

// Tally turns single answers into a verdict: so many of one kind in a row. The zero value has none yet.
type Tally struct {
	Success, Failure int32 // thresholds; at least 1

	run  int32
	last bool
}

// Count takes an answer. decided says that the threshold is reached: ok is the verdict.
func (t *Tally) Count(ok bool) (decided bool) {
	if ok != t.last {
		t.run, t.last = 0, ok
	}
	t.run++
	if ok {
		return t.run >= max(t.Success, 1)
	}
	return t.run >= max(t.Failure, 1)
}
