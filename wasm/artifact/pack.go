package artifact

import (
	"encoding/json"
	"fmt"
	"time"
)

// Options are what an artifact says of itself.
type Options struct {
	Created     time.Time // zero: it does not say
	Author      string
	Annotations map[string]string
}

// Pack makes the artifact that holds a module: its configuration and its manifest. With the module they are its three
// blobs, each named by its Digest. Errors: ErrInvalid, if it is no core module.
func Pack(module []byte, o Options) (config, manifest []byte, err error) {
	if kind := Detect(module); kind != Module {
		return nil, nil, fmt.Errorf("%w: what is to be packed is a %s file, not a module", ErrInvalid, kind)
	}
	c := Config{Author: o.Author, Architecture: "wasm", OS: "wasip1", LayerDigests: []string{Digest(module)}}
	if !o.Created.IsZero() {
		c.Created = o.Created.UTC().Format(time.RFC3339)
	}
	if config, err = json.Marshal(c); err != nil {
		return nil, nil, fmt.Errorf("encode the configuration: %w", err)
	}
	m := Manifest{
		SchemaVersion: 2,
		MediaType:     ManifestType,
		Config:        Descriptor{ConfigType, Digest(config), int64(len(config))},
		Layers:        []Descriptor{{LayerType, Digest(module), int64(len(module))}},
		Annotations:   o.Annotations,
	}
	if manifest, err = json.Marshal(m); err != nil {
		return nil, nil, fmt.Errorf("encode the manifest: %w", err)
	}
	return config, manifest, nil
}
