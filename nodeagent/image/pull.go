package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"wherry/wasm/artifact"
)

// pull resolves the reference and makes what it means present.
func (i *Images) pull(ctx context.Context, r reference, keys keyring) (record, error) {
	if rec, ok := i.cached(r); ok && r.digest != "" {
		return rec, nil // a digest has one meaning
	}
	found, err := i.open(ctx, r, keys)
	if err != nil {
		return record{}, err
	}
	digest := found.top.Digest.String()
	if !validDigest(digest) {
		return record{}, fmt.Errorf("pull %s: only sha256 digests are supported, the registry says %.80q", r.key, digest)
	}
	var rec record
	err = i.alone(ctx, digest, func() error {
		var ok bool
		if rec, ok, err = i.refer(r, digest); ok || err != nil {
			return err
		}
		if err := i.fetch(ctx, found, digest); err != nil {
			return fmt.Errorf("pull %s: %w", r.key, err)
		}
		rec, _, err = i.refer(r, digest)
		return err
	})
	return rec, err
}

// fetch makes the image present under the digest that its reference resolved to.
func (i *Images) fetch(ctx context.Context, m *remoteImage, digest string) error {
	manifest, annotations := m.top.Manifest, map[string]string(nil)
	if m.top.MediaType.IsIndex() {
		chosen, err := choose(manifest)
		if err != nil {
			return err
		}
		if manifest, err = m.manifest(ctx, chosen.Digest.String()); err != nil {
			return err
		}
		annotations = chosen.Annotations
	}
	where, layers, err := locate(ctx, m, manifest, annotations)
	if err != nil {
		return err
	}
	rec := record{Digest: digest, Process: where.Process}
	if where.Layer != nil {
		rec.Module, rec.Size, err = i.fetchModule(ctx, m, *where.Layer)
	} else {
		rec.Module, rec.Size, err = i.fetchFile(ctx, m, layers, where.File)
	}
	if err != nil {
		return err
	}
	return i.add(rec)
}

// choose picks from an index what runs here: modules for preview 1 of WASI, then other modules, then what is for the
// machine.
func choose(index []byte) (v1.Descriptor, error) {
	parsed, err := v1.ParseIndexManifest(bytes.NewReader(index))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("its index: %w", err)
	}
	var best v1.Descriptor
	bestRank := 0
	for _, d := range parsed.Manifests {
		if rank := rank(d.Platform); rank > bestRank {
			best, bestRank = d, rank
		}
	}
	if bestRank == 0 {
		return best, fmt.Errorf("%w: it has no variant for WebAssembly; %s", errUnusable, howToBuild)
	}
	return best, nil
}

func rank(p *v1.Platform) int {
	switch {
	case p == nil:
		return 0
	case artifact.IsPlatform(p.OS, ""):
		return 4
	case artifact.IsPlatform(p.OS, p.Architecture) && p.OS != "wasip2":
		return 3
	case artifact.IsPlatform(p.OS, p.Architecture):
		return 2
	case p.OS == runtime.GOOS && p.Architecture == runtime.GOARCH:
		return 1
	}
	return 0
}

const howToBuild = "build it for WASI preview 1 (GOOS=wasip1 GOARCH=wasm, or --target wasm32-wasip1) and push the module with `wherry push`"

// locate says where the module is, and which layers the image has.
func locate(ctx context.Context, m *remoteImage, manifest []byte, annotations map[string]string) (artifact.Location, []artifact.Descriptor, error) {
	var parsed artifact.Manifest
	if err := json.Unmarshal(manifest, &parsed); err != nil {
		return artifact.Location{}, nil, fmt.Errorf("its manifest: %w", err)
	}
	if parsed.Config.Size > maxDocument {
		return artifact.Location{}, nil, fmt.Errorf("its configuration has %d bytes, at most %d are allowed", parsed.Config.Size, maxDocument)
	}
	var config bytes.Buffer
	if err := m.blob(ctx, parsed.Config, &config); err != nil {
		return artifact.Location{}, nil, fmt.Errorf("its configuration: %w", err)
	}
	where, err := artifact.Locate(manifest, config.Bytes(), annotations)
	if errors.Is(err, artifact.ErrNoModule) {
		var c artifact.Config
		_ = json.Unmarshal(config.Bytes(), &c) // only to say more
		err = fmt.Errorf("%w: it is a container image for %s/%s and this node runs WebAssembly modules only; %s", errUnusable, c.OS, c.Architecture, howToBuild)
	}
	return where, parsed.Layers, err
}

// fetchModule keeps a blob that is a module.
func (i *Images) fetchModule(ctx context.Context, m *remoteImage, layer artifact.Descriptor) (string, int64, error) {
	if layer.Size > i.config.MaxImageBytes {
		return "", 0, fmt.Errorf("its module has %d bytes, at most %d are allowed", layer.Size, i.config.MaxImageBytes)
	}
	f, err := i.create()
	if err != nil {
		return "", 0, err
	}
	defer f.discard()
	checked := &moduleWriter{to: f}
	if err := m.blob(ctx, layer, checked); err != nil {
		return "", 0, err
	}
	if err := checked.finish(); err != nil {
		return "", 0, err
	}
	return layer.Digest, layer.Size, f.commit(i.modulePath(layer.Digest))
}
