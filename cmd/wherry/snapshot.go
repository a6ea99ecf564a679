package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"wherry/orchestrator/snapshot"
)

func newSnapshot(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	c := &cobra.Command{
		Use: "snapshot", Short: "Save, list and restore snapshots of the control plane",
		Long: "Save, list and restore snapshots of the control plane: its objects, its keys, its images.\n\n" +
			"Whoever has a snapshot is the administrator of its cluster: keep it as you keep keys.",
	}
	c.AddCommand(newSnapshotSave(f, streams), newSnapshotList(f, streams),
		delegate("restore FILE", "Put a snapshot into the data directory of a control plane that does not run", "snapshot", "restore"))
	return c
}

func newSnapshotSave(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	var images bool
	c := &cobra.Command{
		Use: "save [FILE]", Short: "Save a snapshot to a file, or into the server's own folder", Args: cobra.MaximumNArgs(1),
		Example: "  wherry snapshot save backup.snapshot\n  wherry snapshot save backup.snapshot --images=false\n  wherry snapshot save",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := newSnapshots(f)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				var e snapshot.Entry
				if err := server.json(c.Context(), http.MethodPost, &e); err != nil {
					return err
				}
				fmt.Fprintf(streams.Out, "%s saved on the server: revision %d, %d bytes, without images\n", e.Name, e.Revision, e.Bytes)
				return nil
			}
			m, err := server.save(c.Context(), args[0], images)
			if err != nil {
				return fmt.Errorf("saving %s: %w", args[0], err)
			}
			fmt.Fprintf(streams.Out, "%s saved: revision %d\n", args[0], m.Revision)
			return nil
		},
	}
	c.Flags().BoolVar(&images, "images", true, "with the images of the cluster's registry")
	return c
}

func newSnapshotList(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the snapshots in the server's own folder", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			server, err := newSnapshots(f)
			if err != nil {
				return err
			}
			var all []snapshot.Entry
			if err := server.json(c.Context(), http.MethodGet, &all); err != nil {
				return err
			}
			w := tabwriter.NewWriter(streams.Out, 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "NAME\tCREATED\tREVISION\tBYTES")
			for _, e := range all {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", e.Name, e.Created.Format(time.RFC3339), e.Revision, e.Bytes)
			}
			return w.Flush()
		},
	}
}

// snapshots asks the server for snapshots.
type snapshots struct {
	client *http.Client
	host   string
}

func newSnapshots(f cmdutil.Factory) (*snapshots, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &snapshots{client: client, host: config.Host}, nil
}

func (s *snapshots) do(ctx context.Context, method, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.host+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) // what came of it will do
		return nil, errors.Join(fmt.Errorf("the server answered %s: %s", answer.Status, why), answer.Body.Close())
	}
	return answer, nil
}

func (s *snapshots) json(ctx context.Context, method string, v any) error {
	answer, err := s.do(ctx, method, snapshot.Path)
	if err != nil {
		return err
	}
	defer answer.Body.Close() // only read
	return json.NewDecoder(answer.Body).Decode(v)
}

// save writes a new snapshot to the file, which appears when it is complete and has been checked.
func (s *snapshots) save(ctx context.Context, file string, images bool) (m snapshot.Manifest, err error) {
	answer, err := s.do(ctx, http.MethodGet, fmt.Sprintf("%s?images=%t", snapshot.StreamPath, images))
	if err != nil {
		return m, err
	}
	defer answer.Body.Close()                                                   // only read
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".new-*") // 0600
	if err != nil {
		return m, err
	}
	m, err = snapshot.Verify(io.TeeReader(answer.Body, tmp))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return m, errors.Join(err, os.Remove(tmp.Name()))
	}
	return m, os.Rename(tmp.Name(), file)
}
