package snapshot

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"time"
)

// Paths of Handler.
const (
	Path       = "/snapshots"
	StreamPath = "/snapshots/stream"
	MediaType  = "application/vnd.wherry.snapshot"
)

// Handler serves the folder. Who may ask is decided by whoever calls it.
//
//	GET  /snapshots         what there is: a list of Entry, the oldest first
//	POST /snapshots         makes one and keeps it: Entry
//	GET  /snapshots/NAME    one that is kept
//	GET  /snapshots/stream  makes one for the client alone; ?images=false leaves the images out
func (f *Folder) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, f.serveList)
	mux.HandleFunc("POST "+Path, f.serveMake)
	mux.HandleFunc("GET "+StreamPath, f.serveStream)
	mux.HandleFunc("GET "+Path+"/{name}", f.serveOne)
	return mux
}

func (f *Folder) serveList(w http.ResponseWriter, _ *http.Request) {
	all, err := f.List()
	if all == nil {
		all = []Entry{}
	}
	f.answer(w, http.StatusOK, all, err)
}

func (f *Folder) serveMake(w http.ResponseWriter, r *http.Request) {
	e, err := f.Make(r.Context())
	f.answer(w, http.StatusCreated, e, err)
}

func (f *Folder) answer(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		f.Log.Error("snapshots", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

func (f *Folder) serveOne(w http.ResponseWriter, r *http.Request) {
	file, err := f.Open(r.PathValue("name"))
	if errors.Is(err, fs.ErrNotExist) {
		http.Error(w, "no such snapshot", http.StatusNotFound)
		return
	}
	if err != nil {
		f.answer(w, 0, nil, err)
		return
	}
	defer file.Close() // only read
	w.Header().Set("Content-Type", MediaType)
	http.ServeContent(w, r, "", created(r.PathValue("name")), file)
}

// serveStream ends the connection in the middle when it fails: an archive without its end is no
// snapshot.
func (f *Folder) serveStream(w http.ResponseWriter, r *http.Request) {
	images, err := strconv.ParseBool(r.URL.Query().Get("images"))
	if err != nil && r.URL.Query().Has("images") {
		http.Error(w, "images: must be true or false", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", MediaType)
	if err := f.Stream(r.Context(), w, images || err != nil); err != nil {
		f.Log.Error("snapshots", "error", err)
		panic(http.ErrAbortHandler)
	}
}

func created(name string) time.Time {
	e, _ := parseName(name) // it was opened by it
	return e.Created
}
