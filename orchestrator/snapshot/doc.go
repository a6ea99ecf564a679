// Package snapshot writes everything that a control plane must not lose into one file, and back
// into a data directory.
//
// A snapshot is a tar archive, compressed with gzip. Its members have the names that they have
// in the data directory:
//
//	state.db             the objects and their history, as of one revision
//	pki/...              the CA and all other keys: whoever has a snapshot is the administrator
//	registry/...         the cluster's images, unless they were left out
//	manifest.json        Manifest: what it is, and the sizes and SHA-256 sums of the others
//
// The manifest is last: an archive without one was cut off. Nothing of an archive is believed
// before all of it has been checked.
//
// Snapshots that are kept by the control plane itself lie in DIR/snapshots, named
// wherry-TIME-REVISION.snapshot, the time in UTC. See Folder.
package snapshot
