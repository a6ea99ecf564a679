package job

import "testing"

func TestIndexes(t *testing.T) {
	for _, test := range []struct {
		text  string
		limit int
		add   []int
		want  string
		n     int
	}{
		{"", 10, nil, "", 0},
		{"", 10, []int{3}, "3", 1},
		{"3", 10, []int{4}, "3,4", 2},
		{"3,4", 10, []int{5}, "3-5", 3},
		{"0-2,4-6", 10, []int{3}, "0-6", 7},
		{"5", 10, []int{0, 9, 5}, "0,5,9", 3},
		{"8-20", 10, nil, "8,9", 2},
		{"x,-1,4-2,7", 10, nil, "7", 1},
	} {
		set := parseIndexes(test.text, test.limit)
		for _, i := range test.add {
			set = set.with(i)
			if !set.has(i) {
				t.Errorf("%s has no %d", set, i)
			}
		}
		if got := set.String(); got != test.want || set.len() != test.n {
			t.Errorf("%q and %v: got %q with %d, want %q with %d", test.text, test.add, got, set.len(), test.want, test.n)
		}
	}
	if n := common(parseIndexes("0-4,8", 10), parseIndexes("3-9", 10)); n != 3 {
		t.Errorf("%d in common, want 3", n)
	}
}

func FuzzIndexes(f *testing.F) {
	f.Add("0-2,4", 3)
	f.Fuzz(func(t *testing.T, text string, i int) {
		const limit = 1000
		set := parseIndexes(text, limit)
		if again := parseIndexes(set.String(), limit); again.String() != set.String() || again.len() != set.len() {
			t.Errorf("%q becomes %q", set, again)
		}
		if i = max(i, -i) % limit; i >= 0 && !set.with(i).has(i) {
			t.Errorf("%q with %d does not have it", set, i)
		}
	})
}
