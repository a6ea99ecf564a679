//go:build !wasip1

package main

import "log"

func main() {
	log.Fatal("udpecho is a guest: build it with GOOS=wasip1 GOARCH=wasm")
}
