package boltstore_test

import (
	"path/filepath"
	"testing"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/boltstore"
	"wherry/orchestrator/store/storetest"
)

func open(t testing.TB, path string, o boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, filepath.Join(t.TempDir(), "store.db"), boltstore.Options{HistoryEvents: 4000})
	})
}
