// Command cgi is an HTTP handler that runs once for each request: a CGI program, as Go's net/http/cgi makes them of any
// http.Handler. Nothing of it runs while nobody asks. It has no network of its own: what it answers goes to its standard output.
//
//	GOOS=wasip1 GOARCH=wasm go build -o cgi.wasm ./samples/cgi
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0) // the container's log has times
	http.HandleFunc("GET /{$}", greet)
	http.HandleFunc("POST /echo", echo)
	http.HandleFunc("GET /slow", slow)
	if err := cgi.Serve(nil); err != nil {
		log.Fatal(err)
	}
}

func greet(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = os.Getenv("HOSTNAME")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello, %s.\n", name)
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.Copy(w, r.Body); err != nil {
		log.Println("the body broke off:", err)
	}
}

// slow takes as many milliseconds as it is told.
func slow(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil {
		http.Error(w, "ms=N is expected", http.StatusBadRequest)
		return
	}
	time.Sleep(time.Duration(n) * time.Millisecond)
	fmt.Fprintln(w, "done")
}
