// Package ociregistry is the cluster's own OCI registry: the HTTP API of the OCI
// distribution specification 1.1 over a folder.
//
//	DIR/
//	    registry.db       everything but blobs, in bbolt
//	    blobs/sha256/ab/  blobs under the hexadecimal digits of their digest; ab are the first two
//	    uploads/          what is being uploaded; emptied at start
//
// registry.db:
//
//	meta
//	    format -> uint32, 1
//	holders
//	    digest 00 repository -> size (uint64): the repository has the blob
//	repositories
//	    NAME
//	        manifests: digest -> media type 00 content
//	        tags:      tag -> digest
//	        referrers: digest of the subject 00 digest -> descriptor of the manifest that refers to it (JSON)
//
// A blob is received into uploads while its digest is computed, then made durable, then
// renamed into blobs, then entered into holders. Blobs that no repository holds are
// removed with their last holder, or at start.
//
// Names from outside are never names of files: files are named by digests and by numbers
// of our own.
//
// Who may do what is decided by whoever calls ServeHTTP.
package ociregistry
