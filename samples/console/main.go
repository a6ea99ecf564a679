// Console is a program that works and ends: it prints its arguments, counts to COUNT and
// exits with CODE. With RestartPolicy OnFailure it shows what a job does.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	fmt.Println("arguments:", os.Args[1:])
	for i := range number("COUNT", 3) {
		fmt.Println("step", i+1)
		time.Sleep(100 * time.Millisecond)
	}
	code := number("CODE", 0)
	fmt.Fprintln(os.Stderr, "exiting with", code)
	os.Exit(code)
}

func number(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}
