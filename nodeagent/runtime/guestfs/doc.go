// Package guestfs is the files of a container that has no programs: what it mounts, seen as the container sees it, and
// the commands that kubectl cp runs in containers, done over them. Every mount is an os.Root: neither links nor ".." lead out of
// it, and a read-only mount stays so.
//
//	files.go    FS: paths of the container, and where they are on the host
//	run.go      the commands, and their flags
//	create.go   tar c
//	extract.go  tar x
package guestfs
