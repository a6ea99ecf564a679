package cronjob

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // for machines that have no time zones of their own

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// schedule is when a CronJob is due, in its time zone.
type schedule struct {
	cron.Schedule
	zone *time.Location
}

func scheduleOf(cj *batchv1.CronJob) (schedule, error) {
	parsed, err := cron.ParseStandard(cj.Spec.Schedule)
	if err != nil {
		return schedule{}, fmt.Errorf("unparseable schedule: %q : %w", cj.Spec.Schedule, err)
	}
	s := schedule{parsed, time.UTC}
	if cj.Spec.TimeZone != nil {
		if s.zone, err = time.LoadLocation(*cj.Spec.TimeZone); err != nil {
			return schedule{}, fmt.Errorf("invalid timeZone: %q : %w", *cj.Spec.TimeZone, err)
		}
	}
	return s, nil
}

// after is the first time after t; the zero time if there is none.
func (s schedule) after(t time.Time) time.Time { return s.Next(t.In(s.zone)) }

// errNever says that a schedule names no time at all, as "0 0 31 2 *".
var errNever = errors.New("the schedule never comes")

// missed is the last time in (since, now], and how many there are, of which not more than limit are counted one by one.
func (s schedule) missed(since, now time.Time, limit int) (last time.Time, n int, err error) {
	t := s.after(since)
	if t.IsZero() {
		return last, 0, errNever
	}
	for ; !t.IsZero() && !t.After(now); t = s.after(t) {
		last = t
		if n++; n == limit {
			return s.lastBefore(last, now), n, nil
		}
	}
	return last, n, nil
}

// lastBefore finds the last time up to now, beginning at t, in steps that grow and then shrink: a CronJob that was
// suspended for years does not count minutes.
func (s schedule) lastBefore(t, now time.Time) time.Time {
	for step := now.Sub(t) / 2; step >= time.Minute; step /= 2 {
		if next := s.after(now.Add(-step)); !next.IsZero() && !next.After(now) && next.After(t) {
			t = next
		}
	}
	for next := s.after(t); !next.IsZero() && !next.After(now); next = s.after(next) {
		t = next
	}
	return t
}
