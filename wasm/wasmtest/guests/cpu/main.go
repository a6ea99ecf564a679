// Command cpu is a guest that computes: each argument names a workload, whose result it prints.
package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

var workloads = map[string]func() any{
	"sort": sorting, "matmul": matmul, "sha256": hashing, "json": encoding, "flate": compressing,
	"maps": maps, "goroutines": goroutines, "fib": func() any { return fib(32) }, "primes": primes,
	"strings": text, "floats": floats, "copy": copying,
}

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		for name := range workloads {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	for _, name := range names {
		start := time.Now()
		fmt.Println(name, workloads[name]())
		fmt.Fprintln(os.Stderr, name, time.Since(start).Microseconds())
	}
}

func numbers(n int) []uint64 {
	list := make([]uint64, n)
	x := uint64(88172645463325252)
	for i := range list {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		list[i] = x
	}
	return list
}

func sorting() any {
	list := numbers(200_000)
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	more := numbers(300_000)
	slices.Sort(more)
	return list[1000] ^ more[7]
}

func matmul() any {
	const n = 192
	a, b, c := make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)
	for i := range a {
		a[i], b[i] = float64(i%7), float64(i%11)
	}
	for i := range n {
		for j := range n {
			var s float64
			for k := range n {
				s += a[i*n+k] * b[k*n+j]
			}
			c[i*n+j] = s
		}
	}
	return c[n*n/2]
}

func hashing() any { return fmt.Sprintf("%x", sha256.Sum256(make([]byte, 8<<20))) }

func encoding() any {
	type item struct {
		Name  string
		Tags  []string
		Value float64
	}
	var list []item
	for i := range 3000 {
		list = append(list, item{fmt.Sprint("item", i), []string{"a", "b"}, float64(i) / 3})
	}
	data, _ := json.Marshal(list)
	var back []item
	if err := json.Unmarshal(data, &back); err != nil {
		return err
	}
	return len(data) + len(back)
}

func compressing() any {
	var buf bytes.Buffer
	w, _ := flate.NewWriter(&buf, 6)
	for i := range 20000 {
		fmt.Fprintf(w, "line %d of %d;", i, i*i)
	}
	w.Close()
	n := buf.Len()
	data, _ := io.ReadAll(flate.NewReader(&buf))
	return fmt.Sprint(n, len(data))
}

func maps() any {
	m := map[uint64]int{}
	for i, n := range numbers(200_000) {
		m[n%50_000] += i
	}
	return fmt.Sprint(len(m), m[17])
}

func goroutines() any {
	var wg sync.WaitGroup
	ch := make(chan int)
	for i := range 100 {
		wg.Go(func() {
			for j := range 200 {
				ch <- i * j
			}
		})
	}
	go func() { wg.Wait(); close(ch) }()
	sum := 0
	for n := range ch {
		sum += n
	}
	return sum
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

func primes() any {
	sieve := make([]bool, 4_000_000)
	n := 0
	for i := 2; i < len(sieve); i++ {
		if !sieve[i] {
			n++
			for j := i * 2; j < len(sieve); j += i {
				sieve[j] = true
			}
		}
	}
	return n
}

func text() any {
	s := strings.Repeat("the quick brown fox ", 20000)
	return strings.Count(strings.ToUpper(strings.ReplaceAll(s, "quick", "slow")), "FOX")
}

func floats() any {
	s := 0.0
	for i := range 2_000_000 {
		s += math.Sqrt(float64(i)) * math.Sin(float64(i))
	}
	return s
}

func copying() any {
	a, b := make([]byte, 4<<20), make([]byte, 4<<20)
	for i := range a {
		a[i] = byte(i)
	}
	for range 30 {
		copy(b[3:], a)
		copy(a, b[1:])
		copy(a[5:], a)
		clear(b[100:200])
	}
	return sha256.Sum256(a)
}
