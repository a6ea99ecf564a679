package apiserver

import (
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// zipFrom is the size from which an answer is compressed.
const zipFrom = 128 << 10

var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
	return z
}}

// zipped holds an answer back until it is done or large enough to be compressed.
type zipped struct {
	http.ResponseWriter
	wanted bool
	status int
	held   []byte
	out    *gzip.Writer
	direct bool // the answer goes out as it is
}

// compress wraps w where the client takes gzip and the answer may be large: get and list.
func compress(w http.ResponseWriter, r *http.Request, at target) *zipped {
	wanted := at.remote == nil && at.resource && (at.verb == "get" || at.verb == "list") && at.subresource == "" && acceptsGzip(r)
	return &zipped{ResponseWriter: w, wanted: wanted, direct: !wanted}
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.ReplaceAll(parameters, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

func (z *zipped) WriteHeader(status int) {
	if z.direct {
		z.ResponseWriter.WriteHeader(status)
		return
	}
	if z.status == 0 {
		z.status = status
	}
}

func (z *zipped) Write(b []byte) (int, error) {
	switch {
	case z.direct:
		return z.ResponseWriter.Write(b)
	case z.out != nil:
		return z.out.Write(b)
	case len(z.held)+len(b) < zipFrom:
		z.held = append(z.held, b...)
		return len(b), nil
	}
	z.begin()
	if _, err := z.out.Write(z.held); err != nil {
		return 0, err
	}
	z.held = nil
	return z.out.Write(b)
}

func (z *zipped) begin() {
	h := z.Header()
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	h.Del("Content-Length")
	z.head()
	z.out = zippers.Get().(*gzip.Writer)
	z.out.Reset(z.ResponseWriter)
}

func (z *zipped) head() {
	if z.status != 0 {
		z.ResponseWriter.WriteHeader(z.status)
	}
}

// finish sends what is held. An error means that the client has gone.
func (z *zipped) finish() {
	switch {
	case z.direct:
	case z.out != nil:
		_ = z.out.Close()
		z.out.Reset(nil)
		zippers.Put(z.out)
		z.out = nil
	default:
		z.head()
		_, _ = z.ResponseWriter.Write(z.held)
	}
	z.direct = true
}

// Unwrap lets http.ResponseController reach flushing, deadlines and hijacking.
func (z *zipped) Unwrap() http.ResponseWriter { return z.ResponseWriter }
