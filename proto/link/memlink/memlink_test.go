package memlink_test

import (
	"testing"
	"testing/synctest"

	"wherry/proto/link"
	"wherry/proto/link/linktest"
	"wherry/proto/link/memlink"
)

func TestSuite(t *testing.T) {
	linktest.Bubble(t, synctest.Test, func(t *testing.T) linktest.Pair {
		d, a := memlink.Pipe("n1", "key", link.ProtocolNode)
		t.Cleanup(func() { d.Close(link.CodeOK, "") })
		return linktest.Pair{Dialer: d, Acceptor: a}
	})
}
