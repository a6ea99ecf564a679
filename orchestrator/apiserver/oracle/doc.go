// Package oracle asks kube-apiserver and Wherry's API server the same and explains every
// difference between their answers. It is a module of its own: what it needs (all of
// kube-apiserver, etcd) reaches no product. `make oracle` runs it.
//
//	servers.go      both servers as processes on loopback
//	ask.go          Request, Answer
//	names.go        what can only differ (uids, times, versions) gets names, the same on both sides
//	compare.go      two named answers become a list of differences
//	differences.go  differences.txt: what is accepted, and why
//	ledger.go       what was asked and what differed, counted and shown as commands
//	case.go         Case: requests that follow each other
//	schema.go       published schemas, and values made from them
//	object.go       objects grown from a small valid one, and broken
package oracle
