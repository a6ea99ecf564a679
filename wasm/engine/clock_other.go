//go:build !linux

package engine

import "time"

// thisMoment reads the clock.
func thisMoment() moment { return moment{time: time.Now()} }
