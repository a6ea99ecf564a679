package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/runtime"
)

// Config is what the pods of a node need. All fields but LogLimits, Domain and Log are required.
type Config struct {
	Node     string              // name
	Address  string              // the node's, for status.hostIP
	Capacity corev1.ResourceList // what limits are that are not set
	Domain   string              // of the cluster; "": cluster.local
	Folders  Folders
	Limits   LogLimits
	Log      *slog.Logger

	Images   Images
	Objects  Objects
	Volumes  Volumes
	Network  Network
	Reports  Reports
	Runtimes []runtime.Runtime

	specs *specs
}

// Workers run the pods of a node. Its methods never wait for a pod.
type Workers struct {
	c         *Config
	observers map[string]*observer // by driver

	mu      sync.Mutex
	workers map[string]*worker          // by uid
	ended   map[string]bool             // uids of pods that are gone here, and not yet from the control plane
	launch  func(uid string, w *worker) // nil until Run has looked around, and when it is over
}

// New returns workers that wait for Run.
func New(c Config) *Workers {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	c.specs = &specs{folders: c.Folders, objects: c.Objects, node: c.Capacity, domain: c.Domain, log: c.Limits}
	ws := &Workers{c: &c, workers: map[string]*worker{}, ended: map[string]bool{}, observers: map[string]*observer{}}
	for _, d := range c.Runtimes {
		ws.observers[d.Name()] = newObserver(d, c.Log, ws.observed)
	}
	return ws
}

// Update says how a pod is wanted now. The first time that a uid is seen its status is what was known of it last: the
// pods of an earlier process are given before Run. One that comes later and has run (the control plane was restored from a
// snapshot, perhaps) has no container here any more. A pod that is to be deleted has its deletionTimestamp; it is kept until
// Reports were told that it is gone.
func (ws *Workers) Update(p *corev1.Pod) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	uid := string(p.UID)
	if w := ws.workers[uid]; w != nil {
		w.want(p)
		return
	}
	if ws.ended[uid] {
		return // the report is on its way
	}
	w := newWorker(ws.c, p, ws.observe)
	ws.workers[uid] = w
	if ws.launch != nil {
		w.missing(nil)
		ws.launch(uid, w)
	}
}

// Remove says that the control plane knows the pod no more. One that is still here was not deleted in good order; it is
// ended as if it had been.
func (ws *Workers) Remove(uid string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.ended, uid)
	w := ws.workers[uid]
	if w == nil {
		return
	}
	w.unknown = true
	p, _ := w.current()
	if p.DeletionTimestamp != nil {
		return
	}
	p = p.DeepCopy()
	seconds := int64(grace(p) / time.Second)
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Now()}, &seconds
	w.want(p)
}

// ObjectsChanged says that what Objects returns for a namespace has changed.
func (ws *Workers) ObjectsChanged(namespace string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.workers {
		if p, _ := w.current(); p.Namespace == namespace {
			w.tell((*Have).objectsChanged)
		}
	}
}

// TokensChanged says that what Objects returns as tokens of a pod has changed.
func (ws *Workers) TokensChanged(uid string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.workers[uid]; w != nil {
		w.tell((*Have).objectsChanged)
	}
}

// Pod returns a pod that has not gone yet, and its status as it was reported last; nil if there is none.
func (ws *Workers) Pod(uid string) (*corev1.Pod, *corev1.PodStatus) {
	ws.mu.Lock()
	w := ws.workers[uid]
	ws.mu.Unlock()
	if w == nil {
		return nil, nil
	}
	return w.current()
}

// Pods returns those that have not gone yet, with their status as it was reported last, by namespace and name.
func (ws *Workers) Pods() []*corev1.Pod {
	ws.mu.Lock()
	workers := slices.Collect(maps.Values(ws.workers))
	ws.mu.Unlock()
	pods := make([]*corev1.Pod, 0, len(workers))
	for _, w := range workers {
		p, status := w.current()
		shown := *p
		shown.Status = *status
		pods = append(pods, &shown)
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return pods
}

// Await returns when a run has ended, or is not known, or ctx has ended.
func (ws *Workers) Await(ctx context.Context, id runtime.ID) {
	for {
		ws.mu.Lock()
		w := ws.workers[id.Pod]
		ws.mu.Unlock()
		if w == nil {
			return
		}
		running, news := w.isRunning(id)
		if !running {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// Log is where the log of a run is.
func (ws *Workers) Log(id runtime.ID) string { return ws.c.Folders.Log(id) }

// Run runs the pods until the context ends. Containers then go on, as far as their driver lets them. It returns an error if
// a driver cannot be asked at the beginning.
func (ws *Workers) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, o := range ws.observers {
		if err := o.look(ctx); err != nil {
			return fmt.Errorf("find the containers of runtime %s: %w", o.driver.Name(), err)
		}
	}
	if err := errors.Join(ws.removeOrphans(ctx), ws.sweep()); err != nil {
		return err
	}
	known := ws.known()
	for _, o := range ws.observers {
		group.Go(func() { o.run(ctx) })
	}
	ws.open(ctx, &group, known)
	<-ctx.Done()
	ws.mu.Lock()
	ws.launch = nil
	ws.mu.Unlock()
	return nil
}

// known are the runs that the drivers know.
func (ws *Workers) known() map[runtime.ID]bool {
	known := map[runtime.ID]bool{}
	for _, o := range ws.observers {
		for id := range o.last {
			known[id] = true
		}
	}
	return known
}

// open starts the workers that are there and lets others be started. Runs that no driver knows are lost.
func (ws *Workers) open(ctx context.Context, group *sync.WaitGroup, known map[runtime.ID]bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.launch = func(uid string, w *worker) {
		group.Go(func() {
			if w.run(ctx) {
				ws.gone(uid)
			}
		})
	}
	for uid, w := range ws.workers {
		w.missing(known)
		ws.launch(uid, w)
	}
}

// gone forgets a pod of which nothing is left but its folder.
func (ws *Workers) gone(uid string) {
	if err := os.RemoveAll(ws.c.Folders.Pod(uid)); err != nil {
		ws.c.Log.Warn("cannot remove the logs of a pod; the next start tries again", "uid", uid, "err", err)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if !ws.workers[uid].unknown {
		ws.ended[uid] = true
	}
	delete(ws.workers, uid)
}

// removeOrphans ends containers of pods that nobody wants.
func (ws *Workers) removeOrphans(ctx context.Context) error {
	for _, o := range ws.observers {
		for _, id := range o.ids() {
			if ws.workers[id.Pod] != nil {
				continue
			}
			ws.c.Log.Info("removing a container of an unknown pod", "uid", id.Pod, "container", id.Container)
			if err := errors.Join(o.driver.Stop(ctx, id, minimumGrace), o.driver.Remove(ctx, id)); err != nil {
				return fmt.Errorf("remove container %s of unknown pod %s: %w", id.Container, id.Pod, err)
			}
		}
	}
	return nil
}

// sweep removes the folders of pods that nobody wants.
func (ws *Workers) sweep() error {
	entries, err := os.ReadDir(string(ws.c.Folders))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for folders of unknown pods: %w", err)
	}
	for _, e := range entries {
		if ws.workers[e.Name()] == nil {
			if err := os.RemoveAll(ws.c.Folders.Pod(e.Name())); err != nil {
				ws.c.Log.Warn("cannot remove the folder of an unknown pod", "uid", e.Name(), "err", err)
			}
		}
	}
	return nil
}

// observed hands what a driver says to the pod's worker.
func (ws *Workers) observed(driver string, s runtime.Status, found bool) {
	ws.mu.Lock()
	w := ws.workers[s.ID.Pod]
	ws.mu.Unlock()
	if w == nil {
		return
	}
	if !found {
		w.tell(func(h *Have) { h.lost(time.Now(), s.ID) })
		return
	}
	w.tell(func(h *Have) { h.observed(driver, w.lastWords(s)) })
}

func (ws *Workers) observe(ctx context.Context, driver string) {
	if o := ws.observers[driver]; o != nil {
		o.wait(ctx)
	}
}
