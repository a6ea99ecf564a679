// Sleep sleeps for the duration that it is given and says what the clocks showed.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	d, err := time.ParseDuration(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "sleep:", err)
		os.Exit(1)
	}
	began := time.Now()
	time.Sleep(d)
	fmt.Println("from", began.UTC().Format(time.DateTime), "slept", time.Since(began).Truncate(time.Second))
}
