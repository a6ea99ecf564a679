// Command cpu is a guest that computes: each argument names a workload, whose result it prints.
package main

import (
	"hash/crc32"
	"math"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

var workloads = map[string]func() uint64{
	"sort": sorting, "matmul": matmul, "crc": checksum, "maps": maps, "goroutines": goroutines,
	"fib": func() uint64 { return uint64(fib(32)) }, "primes": primes, "strings": text, "floats": floats, "copy": copying,
	"interfaces": interfaces,
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
		result := workloads[name]()
		os.Stdout.WriteString(name + " " + strconv.FormatUint(result, 10) + "\n")
		os.Stderr.WriteString(name + " " + strconv.FormatInt(time.Since(start).Microseconds(), 10) + "\n")
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

func sorting() uint64 {
	list := numbers(200_000)
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	more := numbers(300_000)
	slices.Sort(more)
	return list[1000] ^ more[7]
}

func matmul() uint64 {
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
	return uint64(c[n*n/2])
}

func checksum() uint64 {
	table := crc32.MakeTable(0x1234567)
	data := make([]byte, 8<<20)
	for i := range data {
		data[i] = byte(i)
	}
	return uint64(crc32.Checksum(data, table))
}

func maps() uint64 {
	m := map[uint64]int{}
	for i, n := range numbers(200_000) {
		m[n%50_000] += i
	}
	return uint64(len(m) + m[17])
}

func goroutines() uint64 {
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
	return uint64(sum)
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

func primes() uint64 {
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
	return uint64(n)
}

func text() uint64 {
	s := strings.Repeat("the quick brown fox ", 20000)
	return uint64(strings.Count(strings.ToUpper(strings.ReplaceAll(s, "quick", "slow")), "FOX"))
}

func floats() uint64 {
	s := 0.0
	for i := range 2_000_000 {
		s += math.Sqrt(float64(i)) * math.Abs(math.Sin(float64(i)))
	}
	return uint64(s)
}

func copying() uint64 {
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
	return uint64(crc32.ChecksumIEEE(a))
}

type shape interface{ area() float64 }

type square struct{ side float64 }
type circle struct{ radius float64 }

func (s square) area() float64  { return s.side * s.side }
func (c *circle) area() float64 { return 3 * c.radius * c.radius }

func interfaces() uint64 {
	shapes := []shape{square{1}, &circle{2}, square{3}}
	s := 0.0
	for i := range 5_000_000 {
		s += shapes[i%3].area()
	}
	return uint64(s)
}
