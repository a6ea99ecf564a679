package orchestrator

import (
	"errors"
	"fmt"
	"path/filepath"

	"wherry/orchestrator/snapshot"
	"wherry/orchestrator/store/boltstore"
)

// openSnapshots prepares the folder of snapshots; it stands on what open has opened.
func (o *Orchestrator) openSnapshots(st *boltstore.Store) {
	o.snapshots = &snapshot.Folder{
		Path: filepath.Join(o.config.DataDir, "snapshots"), Every: o.config.SnapshotEvery, Keep: o.config.SnapshotKeep, Log: o.log,
		Source: snapshot.Source{
			Dir: o.config.DataDir, Cluster: o.pki.ClusterID(), Version: o.config.Version,
			State: st.Snapshot, Registry: o.registry.Snapshot,
		},
	}
}

// Restore puts a snapshot into the data directory of a control plane that does not run, which may be
// a new one. What was there is kept beside it. Errors: snapshot.ErrDamaged, boltstore.ErrInUse.
func Restore(archive, dataDir string) (snapshot.Manifest, error) {
	release, err := boltstore.Hold(statePath(dataDir))
	if err != nil {
		return snapshot.Manifest{}, fmt.Errorf("restoring into %s: %w; stop the control plane first", dataDir, err)
	}
	held := true
	free := func() error { // a file that is open cannot be moved on Windows
		if !held {
			return nil
		}
		held = false
		return release()
	}
	m, err := snapshot.Restore(archive, dataDir, func(state string) error {
		return errors.Join(boltstore.Restored(state), free())
	})
	return m, errors.Join(err, free())
}

func statePath(dataDir string) string { return filepath.Join(dataDir, "state.db") }
