package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxDocument bounds a manifest or configuration, in bytes, as registries do.
const maxDocument = 4 << 20

var (
	// ErrNoModule says that the image holds no module: it is for another runtime.
	ErrNoModule = errors.New("the image holds no WebAssembly module")
	// ErrInvalid says that the image is meant to hold a module, but is wrong.
	ErrInvalid = errors.New("invalid WebAssembly image")
)

// Location is where the module of an image is: a layer, or a file in the root filesystem that the layers make.
type Location struct {
	// Layer is the module itself; nil if it is a file.
	Layer *Descriptor
	// File is the path in the root filesystem, relative to its root and clean; "" if it is a layer.
	File string
	// Process is how the image wants to be run; of an artifact the zero value.
	Process Process
}

// Locate finds the module of an image by its manifest, its configuration, and annotations that it was given elsewhere
// (may be nil; those of the manifest count too). The shapes that are accepted, the first that fits wins:
//
//  1. the configuration has the artifact's type: the one layer;
//  2. a layer has the type of a module: that layer;
//  3. the configuration is for wasi or wasm: the file of the entrypoint;
//  4. an annotation says that it is a module: the file of the entrypoint, else plugin.wasm.
//
// Errors: ErrNoModule, ErrInvalid.
func Locate(manifest, config []byte, annotations map[string]string) (Location, error) {
	var m Manifest
	if err := decode(manifest, &m); err != nil {
		return Location{}, fmt.Errorf("%w: its manifest: %w", ErrInvalid, err)
	}
	if slices.Contains(configTypes, m.Config.MediaType) {
		return m.onlyLayer()
	}
	for _, layer := range m.Layers {
		if slices.Contains(layerTypes, layer.MediaType) {
			return Location{Layer: &layer}, nil
		}
	}
	var c Config
	if err := decode(config, &c); err != nil {
		return Location{}, fmt.Errorf("%w: its configuration: %w", ErrInvalid, err)
	}
	switch {
	case IsPlatform(c.OS, c.Architecture):
		return c.entrypoint("")
	case annotated(annotations) || annotated(m.Annotations):
		return c.entrypoint(variantFile)
	}
	return Location{}, ErrNoModule
}

// IsPlatform says whether images for a platform hold modules, as when one is chosen from an index.
func IsPlatform(os, architecture string) bool {
	return os == "wasi" || os == "wasip1" || architecture == "wasm" || architecture == "wasm32"
}

func annotated(annotations map[string]string) bool {
	variant := annotations[variantAnnotation]
	return variant == "compat" || variant == "compat-smart" || annotations[handlerAnnotation] == "wasm"
}

func decode(document []byte, v any) error {
	if len(document) > maxDocument {
		return fmt.Errorf("it has %d bytes, at most %d are allowed", len(document), maxDocument)
	}
	return json.Unmarshal(document, v)
}

func (m Manifest) onlyLayer() (Location, error) {
	if len(m.Layers) != 1 {
		return Location{}, fmt.Errorf("%w: it has %d layers, a WebAssembly artifact has one", ErrInvalid, len(m.Layers))
	}
	return Location{Layer: &m.Layers[0]}, nil
}

// entrypoint finds the file that is to be executed.
func (c Config) entrypoint(otherwise string) (Location, error) {
	argv := append(slices.Clip(c.Process.Entrypoint), c.Process.Cmd...)
	if len(argv) > 0 {
		otherwise = path.Join("/", c.Process.WorkingDir, argv[0])
		if path.IsAbs(argv[0]) {
			otherwise = argv[0]
		}
	}
	file := strings.TrimPrefix(path.Clean("/"+otherwise), "/")
	if file == "" {
		return Location{}, fmt.Errorf("%w: it has no entrypoint that names the module", ErrInvalid)
	}
	return Location{File: file, Process: c.Process}, nil
}
