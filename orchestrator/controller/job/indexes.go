package job

import (
	"strconv"
	"strings"
)

// indexes is a set of completion indexes: spans in order that do not touch.
type indexes []span

// span is the indexes from first to last, both of them.
type span struct{ first, last int }

// parseIndexes reads "0-3,7". What is not understood is not in the set; what is not below limit neither.
func parseIndexes(text string, limit int) indexes {
	var set indexes
	for part := range strings.SplitSeq(text, ",") {
		a, b, isSpan := strings.Cut(part, "-")
		first, err := strconv.Atoi(a)
		last := first
		if err == nil && isSpan {
			last, err = strconv.Atoi(b)
		}
		if err != nil || first < 0 || first > last || first >= limit {
			continue
		}
		for i := first; i <= min(last, limit-1); i++ {
			set = set.with(i)
		}
	}
	return set
}

func (set indexes) String() string {
	var b strings.Builder
	for i, s := range set {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s.first))
		switch {
		case s.last == s.first+1:
			b.WriteString("," + strconv.Itoa(s.last))
		case s.last > s.first:
			b.WriteString("-" + strconv.Itoa(s.last))
		}
	}
	return b.String()
}

func (set indexes) has(i int) bool {
	for _, s := range set {
		if s.first <= i && i <= s.last {
			return true
		}
	}
	return false
}

func (set indexes) len() int {
	n := 0
	for _, s := range set {
		n += s.last - s.first + 1
	}
	return n
}

// with is the set and one index more. It is a new one.
func (set indexes) with(i int) indexes {
	out := make(indexes, 0, len(set)+1)
	added := span{i, i}
	placed := false
	for _, s := range set {
		switch {
		case s.last+1 < added.first:
			out = append(out, s)
		case added.last+1 < s.first:
			if !placed {
				out, placed = append(out, added), true
			}
			out = append(out, s)
		default:
			added = span{min(s.first, added.first), max(s.last, added.last)}
		}
	}
	if !placed {
		out = append(out, added)
	}
	return out
}
