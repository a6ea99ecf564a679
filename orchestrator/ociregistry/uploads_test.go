package ociregistry_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"wherry/orchestrator/ociregistry"
)

// ask serves one request without a connection.
func ask(g http.Handler, method, path string, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(method, path, body))
	return w
}

func TestUploadsThatAreLeftAloneEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g, err := ociregistry.New(dir, ociregistry.Options{UploadTimeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}()
		begin := func() string {
			return ask(g, "POST", "/v2/a/blobs/uploads/", nil).Header().Get("Location")
		}
		idle, used := begin(), begin()
		time.Sleep(40 * time.Minute)
		ask(g, "PATCH", used, strings.NewReader("x"))
		time.Sleep(40 * time.Minute)
		begin()
		if w := ask(g, "GET", idle, nil); w.Code != http.StatusNotFound {
			t.Errorf("an upload that was idle for 80 minutes: %d", w.Code)
		}
		if w := ask(g, "GET", used, nil); w.Code != http.StatusNoContent {
			t.Errorf("an upload that was idle for 40 minutes: %d", w.Code)
		}
		entries, err := os.ReadDir(filepath.Join(dir, "uploads"))
		if err != nil || len(entries) != 2 {
			t.Errorf("files of two uploads: %v, %v", entries, err)
		}
	})
}

func TestAnUploadGoesOnAfterABrokenConnection(t *testing.T) {
	g, err := ociregistry.New(t.TempDir(), ociregistry.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	at := ask(g, "POST", "/v2/a/blobs/uploads/", nil).Header().Get("Location")
	broken := io.MultiReader(strings.NewReader("hello "), iotest.ErrReader(errors.New("connection reset")))
	if w := ask(g, "PATCH", at, broken); w.Code < 400 {
		t.Errorf("half a chunk was taken for a whole one: %d", w.Code)
	}
	if r := ask(g, "GET", at, nil).Header().Get("Range"); r != "0-5" {
		t.Errorf("what has come is %q", r)
	}
	if w := ask(g, "PUT", at+"?digest="+sha("hello world"), strings.NewReader("world")); w.Code != http.StatusCreated {
		t.Errorf("the rest: %d %s", w.Code, w.Body)
	}
}
