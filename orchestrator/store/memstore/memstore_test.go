package memstore_test

import (
	"testing"

	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
	"wherry/orchestrator/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New() })
}
