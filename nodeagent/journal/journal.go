package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"wherry/proto/nodelink"
)

var (
	// ErrLocked says that another process has the journal open.
	ErrLocked = errors.New("journal: in use by another agent: stop it, or use another data directory")
	// ErrOtherCluster says that the journal was written for another cluster.
	ErrOtherCluster = errors.New("journal: this node belongs to another cluster: use another data directory, or remove this one")
	// ErrFormat says that the journal was written by a newer agent.
	ErrFormat = errors.New("journal: written by a newer version of the agent")
)

// flushDelay is how long a status may be in memory only.
const flushDelay = time.Second

// Journal is an open journal. All methods may be called concurrently. What it returns is shared and not to be changed.
type Journal struct {
	db    *bbolt.DB
	log   *slog.Logger
	dirty chan struct{} // holds a token while statuses wait to be written

	mu       sync.Mutex
	welcome  *nodelink.Welcome
	objects  map[key]*nodelink.Change
	statuses map[string]*nodelink.PodStatus // the newest ones, by pod uid
	changed  map[string]bool                // pod uids whose status is not in the file
}

type key struct {
	kind            nodelink.Kind
	namespace, name string
}

func keyOf(c *nodelink.Change) key { return key{c.GetKind(), c.GetNamespace(), c.GetName()} }

// Close writes what is not in the file yet, and closes it.
func (j *Journal) Close() error {
	return errors.Join(j.flush(), j.db.Close())
}

// Welcome is what the control plane said last about the cluster; nil: it was never reached.
func (j *Journal) Welcome() *nodelink.Welcome {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.welcome
}

// SetWelcome notes it durably. Errors: ErrOtherCluster.
func (j *Journal) SetWelcome(w *nodelink.Welcome) error {
	j.mu.Lock()
	old := j.welcome
	j.mu.Unlock()
	if old != nil && old.GetClusterId() != w.GetClusterId() {
		return fmt.Errorf("%w (%s, not %s)", ErrOtherCluster, old.GetClusterId(), w.GetClusterId())
	}
	if proto.Equal(old, w) {
		return nil
	}
	if err := j.commit(func(tx *bbolt.Tx) error { return putMessage(tx.Bucket(metaBucket), welcomeKey, w) }); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.welcome = w
	return nil
}

// removes says whether c, which says that an object is gone, means old, and not another object that took its name.
func removes(c, old *nodelink.Change) bool { return c.GetUid() == "" || c.GetUid() == old.GetUid() }

// Apply takes changes over, durably and together.
func (j *Journal) Apply(changes []*nodelink.Change) error {
	err := j.commit(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			if err := putChange(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range changes {
		if len(c.GetObject()) > 0 {
			j.objects[keyOf(c)] = c
		} else if removes(c, j.objects[keyOf(c)]) {
			delete(j.objects, keyOf(c))
		}
	}
	return nil
}

// Have lists what the journal holds, for the link to send differences to.
func (j *Journal) Have() []*nodelink.Have {
	objects := j.Objects()
	all := make([]*nodelink.Have, len(objects))
	for i, c := range objects {
		all[i] = &nodelink.Have{Kind: c.Kind, Namespace: c.Namespace, Name: c.Name, Uid: c.Uid, Revision: c.Revision}
	}
	return all
}

// Objects returns every object, by kind, namespace and name.
func (j *Journal) Objects() []*nodelink.Change {
	j.mu.Lock()
	all := make([]*nodelink.Change, 0, len(j.objects))
	for _, c := range j.objects {
		all = append(all, c)
	}
	j.mu.Unlock()
	slices.SortFunc(all, func(a, b *nodelink.Change) int {
		if a.GetKind() != b.GetKind() {
			return int(a.GetKind()) - int(b.GetKind())
		}
		return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
	})
	return all
}

// Note keeps the newest status of a pod, until Forget.
func (j *Journal) Note(s *nodelink.PodStatus) { j.set(s.GetUid(), s) }

// Forget drops the status of a pod that the control plane has forgotten.
func (j *Journal) Forget(uid string) { j.set(uid, nil) }

// set notes a status, or that there is none any more.
func (j *Journal) set(uid string, s *nodelink.PodStatus) {
	j.mu.Lock()
	if s == nil {
		delete(j.statuses, uid)
	} else {
		j.statuses[uid] = s
	}
	j.changed[uid] = true
	j.mu.Unlock()
	select {
	case j.dirty <- struct{}{}:
	default: // there is a token
	}
}

// Status is the newest status of a pod; nil: there is none.
func (j *Journal) Status(uid string) *nodelink.PodStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.statuses[uid]
}

// Statuses returns all of them. Which of them the control plane has is not known: they are whole states, and may be
// told again.
func (j *Journal) Statuses() []*nodelink.PodStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Collect(maps.Values(j.statuses))
}

// Run writes statuses to the file, a second after they changed, until the context ends. An error of the file system is
// logged and tried again with the next change.
func (j *Journal) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-j.dirty:
		}
		timer := time.NewTimer(flushDelay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if err := j.flush(); err != nil {
			j.log.Error("cannot write the journal", "err", err)
		}
	}
}

func (j *Journal) flush() error {
	j.mu.Lock()
	waiting := len(j.changed)
	j.mu.Unlock()
	if waiting == 0 {
		return nil
	}
	return j.commit(func(*bbolt.Tx) error { return nil })
}

// commit is one transaction. Statuses that wait ride in it.
func (j *Journal) commit(write func(*bbolt.Tx) error) error {
	var riding map[string]bool
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if err := write(tx); err != nil {
			return err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		riding, j.changed = j.changed, map[string]bool{}
		for uid := range riding {
			if err := putStatus(tx, uid, j.statuses[uid]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		for uid := range riding {
			j.changed[uid] = true
		}
		return fmt.Errorf("journal: write: %w", err)
	}
	return nil
}
