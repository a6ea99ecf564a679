// Package apiserver is the Kubernetes API over HTTP.
//
// One request's way, with the file of each step:
//
//	chain.go       a panic becomes a Status; who asks, and may he? (auth)
//	target.go      what is it for: verb, group, version, namespace, resource, name, subresource
//	route.go       which handler answers; subresource.go and virtual.go for what is not a stored object, measured.go the metrics API
//	options.go     what the query says
//	media          in which form the answer goes out
//	codec.go       the body becomes an object
//	write.go patch.go apply.go managed.go delete.go scale.go
//	               what changes, and who owns which field from now on; state does the rest
//	list.go watch.go table.go item.go wire
//	               encoded objects joined into answers
//	status.go      an error becomes a Status
//
// Handlers return errors; nothing but status.go turns them into HTTP.
package apiserver
