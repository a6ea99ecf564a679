// Http serves from the listeners that it finds preopened, and ends when one of them fails.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.URL.Query().Get("name")) })
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		fmt.Fprint(w, "slow")
	})
	ended := make(chan error)
	found := 0
	for fd := uintptr(3); fd < 16; fd++ {
		l, err := net.FileListener(os.NewFile(fd, ""))
		if err != nil {
			continue
		}
		found++
		go func() { ended <- http.Serve(l, nil) }()
	}
	if found == 0 {
		fmt.Fprintln(os.Stderr, "http: no listener")
		os.Exit(1)
	}
	fmt.Println("serving")
	fmt.Println("ended:", <-ended)
}
