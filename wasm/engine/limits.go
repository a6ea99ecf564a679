package engine

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are what processes may take together: memory, and processor time in each period. They may be used at any time.
type Limits struct {
	account account
	quota   quota
	cpu     atomic.Int64 // nanoseconds that the processes have used
}

// NewLimits returns limits in bytes and in thousandths of a core. 0: no limit of time, and of memory a page less than 4 GiB
// for each process.
func NewLimits(memoryBytes, cpuMillis int64) *Limits {
	if memoryBytes <= 0 {
		memoryBytes = math.MaxInt64
	}
	return &Limits{
		account: account{limit: memoryBytes},
		quota:   quota{each: time.Duration(cpuMillis) * period / 1000},
	}
}

// Usage returns the CPU time that all processes under the limits have used, and the bytes of memory that they have: linear memory,
// tables, the native stack and what the host holds.
func (l *Limits) Usage() (cpu time.Duration, memory int64) {
	return time.Duration(l.cpu.Load()), l.account.used.Load()
}

// account is what guests may take of memory, and what they have, in bytes. It may be used at any time.
type account struct {
	limit int64
	used  atomic.Int64
}

// take takes bytes if there are so many left; a negative number gives them back.
func (a *account) take(bytes int64) bool {
	if a.used.Add(bytes) <= a.limit || bytes <= 0 {
		return true
	}
	a.used.Add(-bytes)
	return false
}

// quota limits processor time in each period.
type quota struct {
	each time.Duration // in a period; 0: no limit

	mu     sync.Mutex    // guards what follows
	period time.Time     // when the current one began; zero: none has
	spent  time.Duration // in it, debts included
}

// begin begins the first period.
func (q *quota) begin(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.period.IsZero() {
		q.period = now
	}
}

func (q *quota) spend(d time.Duration) {
	if q.each == 0 {
		return
	}
	q.mu.Lock()
	q.spent += d
	q.mu.Unlock()
}

// left is what remains of the current period.
func (q *quota) left() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.each - q.spent
}

// over says how long a guest has to wait until there is room; 0: there is.
func (q *quota) over(now time.Time) time.Duration {
	if q.each == 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if passed := now.Sub(q.period) / period; passed > 0 {
		q.period = q.period.Add(passed * period)
		q.spent = max(0, q.spent-passed*q.each)
	}
	if q.spent < q.each {
		return 0
	}
	return q.period.Add((q.spent / q.each) * period).Sub(now)
}
