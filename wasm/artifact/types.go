package artifact

import (
	"crypto/sha256"
	"fmt"
)

// Media types of the artifact that is written: that of the CNCF's WebAssembly working group
// (https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).
const (
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	ConfigType   = "application/vnd.wasm.config.v0+json"
	LayerType    = "application/wasm"
)

// configTypes of the artifact that are accepted.
var configTypes = []string{ConfigType, "application/vnd.wasm.config.v1+json"}

// layerTypes that are a module, whatever the config is.
var layerTypes = []string{
	LayerType,
	"application/vnd.wasm.content.layer.v1+wasm",                    // Spin, Krustlet
	"application/vnd.module.wasm.content.layer.v1+wasm",             // solo-io, older wasmCloud
	"application/vnd.bytecodealliance.wasm.component.layer.v0+wasm", // runwasi
}

// Annotations that say that an ordinary image has a module.
const (
	variantAnnotation = "module.wasm.image/variant" // compat, compat-smart
	handlerAnnotation = "run.oci.handler"           // wasm
	// variantFile is the module of such an image without an entrypoint.
	variantFile = "plugin.wasm"
)

// Descriptor names a blob (OCI image specification, descriptor.md).
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// Manifest is what matters here of an image manifest (manifest.md).
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Config is what matters here of an image's configuration, both of ordinary images (config.md) and of the
// artifact.
type Config struct {
	Created      string   `json:"created,omitempty"` // RFC 3339
	Author       string   `json:"author,omitempty"`
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	LayerDigests []string `json:"layerDigests,omitempty"`
	Process      Process  `json:"config,omitzero"`
}

// Process is how an ordinary image wants to be run.
type Process struct {
	User       string   `json:"User,omitempty"`
	Env        []string `json:"Env,omitempty"` // K=V
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Cmd        []string `json:"Cmd,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
}

// Digest returns the digest of a blob, "sha256:...".
func Digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }
