// Package image makes images ready on this machine: it resolves references, pulls by digest with verification while
// the bytes arrive, and keeps what it pulled. It knows registries and WebAssembly artifacts, and nothing of Kubernetes.
//
// On disk, all files 0600 and replaced by rename:
//
//	DIR/index.json          what is here: images by digest, references and the digest that each had last
//	DIR/modules/HEX.wasm    a module, named by the sha256 of its bytes
//	DIR/tmp/                what is being pulled; emptied at start
//
// A reference without a registry host, such as hello:v1, means the cluster's own registry, and, if that has no such
// image, docker.io. An error of the cluster's registry is an error: nothing else may slip in under its names.
package image
