package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"wherry/wasm/artifact"
)

// maxModule bounds the file that is pushed, in bytes.
const maxModule = 1 << 30

func newPush(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use: "push FILE.wasm NAME[:TAG]", Short: "Push a module to the cluster's own registry", Args: cobra.ExactArgs(2),
		Example: "  GOOS=wasip1 GOARCH=wasm go build -o hello.wasm .\n  wherry push hello.wasm hello:v1",
		RunE: func(c *cobra.Command, args []string) error {
			module, err := readModule(args[0])
			if err != nil {
				return err
			}
			config, err := f.ToRESTConfig()
			if err != nil {
				return fmt.Errorf("reading the kubeconfig: %w", err)
			}
			digest, err := push(c.Context(), config, module, args[1])
			if err != nil {
				return fmt.Errorf("pushing %s: %w", args[1], err)
			}
			fmt.Fprintf(streams.Out, "%s@%s\n", args[1], digest)
			return nil
		},
	}
}

func readModule(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxModule {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), maxModule)
	}
	module, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	switch kind := artifact.Detect(module); kind {
	case artifact.Module:
		return module, nil
	case artifact.Component:
		return nil, fmt.Errorf("%s is a WebAssembly component; only core modules run here yet: build it for WASI preview 1 (GOOS=wasip1, or --target wasm32-wasip1)", path)
	default:
		return nil, fmt.Errorf("%s is no WebAssembly module but %s", path, kind)
	}
}

// push writes the module as an OCI artifact into the registry at the API server's address.
func push(ctx context.Context, config *rest.Config, module []byte, ref string) (v1.Hash, error) {
	server, err := url.Parse(config.Host)
	if err != nil {
		return v1.Hash{}, err
	}
	target, err := name.ParseReference(server.Host+"/"+ref, name.WithDefaultTag("latest"))
	if err != nil {
		return v1.Hash{}, fmt.Errorf("%q is no name for an image: %w", ref, err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return v1.Hash{}, err
	}
	image, err := pack(module)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := remote.Write(target, image, remote.WithContext(ctx), remote.WithTransport(https{transport})); err != nil {
		return v1.Hash{}, err
	}
	return image.Digest()
}

// https keeps to TLS: the registry library tries plain HTTP for local addresses.
type https struct{ next http.RoundTripper }

func (t https) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("the cluster's registry is reached over TLS only")
	}
	return t.next.RoundTrip(r)
}

// packed is a module as an image of the registry library.
type packed struct{ module, config, manifest []byte }

func pack(module []byte) (v1.Image, error) {
	config, manifest, err := artifact.Pack(module, artifact.Options{Created: time.Now()})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(packed{module, config, manifest})
}

func (p packed) RawConfigFile() ([]byte, error)      { return p.config, nil }
func (p packed) RawManifest() ([]byte, error)        { return p.manifest, nil }
func (p packed) MediaType() (types.MediaType, error) { return artifact.ManifestType, nil }

// LayerByDigest implements partial.CompressedImageCore: the module is the only layer.
func (p packed) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h.String() != artifact.Digest(p.module) {
		return nil, fmt.Errorf("the artifact has no layer %s", h)
	}
	return static.NewLayer(p.module, artifact.LayerType), nil
}
