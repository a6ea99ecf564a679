// Hello answers HTTP requests with a greeting and the name of the pod that answers. It
// is an ordinary Go server; built for WASI it serves from the listener that the sandbox
// hands to it for the container's declared port.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	log.SetFlags(0)
	l, err := listener()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("GET /", hello)
	log.Printf("serving as %s", os.Getenv("POD_NAME"))
	if err := http.Serve(l, nil); !errors.Is(err, net.ErrClosed) {
		log.Printf("stopped: %v", err)
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	log.Printf("%s %s", r.Method, r.URL.Path)
	fmt.Fprintf(w, "%s from %s\n", greeting(), cmp.Or(os.Getenv("POD_NAME"), "nowhere"))
}

// greeting is read each time, so that a change of the ConfigMap shows.
func greeting() string {
	text, err := os.ReadFile("/etc/hello/greeting")
	if err != nil {
		return "Hello"
	}
	return string(text)
}

// kept holds the descriptors that are no listeners: collecting them would close them.
var kept []*os.File

// listener finds the first descriptor that is a listening socket: sandboxes hand them over
// behind the directories, and how many of those there are depends on the pod.
func listener() (net.Listener, error) {
	if port := os.Getenv("PORT"); port != "" { // outside a sandbox
		return net.Listen("tcp", ":"+port)
	}
	const first, last = 3, 64
	for fd := uintptr(first); fd <= last; fd++ {
		f := os.NewFile(fd, "listener")
		if l, err := net.FileListener(f); err == nil {
			return l, nil
		}
		kept = append(kept, f)
	}
	return nil, errors.New("no listening socket: declare a TCP port on the container, or set PORT")
}
