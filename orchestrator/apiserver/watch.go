package apiserver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/apiserver/media"
	"wherry/orchestrator/apiserver/wire"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
)

const (
	minWatch      = 30 * time.Minute // a watch that does not say lasts between this and twice this
	bookmarkEvery = time.Minute
	// writeTimeout is how long a reader may take nothing before he is dropped. He comes
	// back with the last resourceVersion that he saw.
	writeTimeout = 30 * time.Second
)

// watcher is one watch on its way out.
type watcher struct {
	c         *call
	feed      *state.Watch
	show      func(item) ([]byte, error)
	frame     func(io.Writer, string, []byte) error
	out       *bufio.Writer
	control   *http.ResponseController
	counter   prometheus.Counter // of events
	bookmarks bool
	initial   bool           // the bookmark that ends the initial events is still to come
	seen      store.Revision // everything up to here is out
}

func (c *call) watch() error {
	o, err := c.listOptions(true)
	if err != nil {
		return err
	}
	after, err := c.revision(o.ResourceVersion)
	if err != nil {
		return err
	}
	show, err := c.viewer()
	if err != nil {
		return err
	}
	if c.out.Format == media.YAML {
		return media.NotAcceptable("only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")
	}
	ctx, cancel := c.watchContext(o.TimeoutSeconds)
	defer cancel()
	initial := o.SendInitialEvents != nil && *o.SendInitialEvents
	w := &watcher{
		c: c, show: show, frame: wire.JSONEvent, bookmarks: o.AllowWatchBookmarks, initial: initial, seen: after,
		out: bufio.NewWriterSize(c.w, 16<<10), control: http.NewResponseController(c.w),
	}
	w.counter = c.s.metrics.events.WithLabelValues(c.at.group, c.at.version, c.at.plural)
	if c.out.Format == media.Protobuf {
		w.frame = wire.ProtobufEvent
	}
	w.feed, err = c.s.state.Watch(ctx, c.kind, state.WatchOptions{Selector: o.selector, After: after, Initial: initial})
	if err != nil && !apierrors.IsResourceExpired(err) {
		return err
	}
	w.begin()
	c.standUp()
	if err != nil {
		return w.failed(err)
	}
	defer w.feed.Close()
	return w.run(ctx)
}

// watchContext ends with the client, the timeout or the server.
func (c *call) watchContext(seconds *int64) (context.Context, context.CancelFunc) {
	timeout := minWatch + rand.N(minWatch)
	if seconds != nil && *seconds > 0 {
		timeout = time.Duration(min(*seconds, int64(24*time.Hour/time.Second))) * time.Second
	}
	ctx, cancel := context.WithTimeout(c.ctx(), timeout)
	stop := context.AfterFunc(c.s.stopping, cancel)
	return ctx, func() { stop(); cancel() }
}

func (c *call) revision(text string) (store.Revision, error) {
	if text == "" {
		return 0, nil
	}
	rev, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewInvalid(schema.GroupKind{Group: c.kind.Group, Kind: c.kind.Plural}, "", field.ErrorList{
			field.Invalid(field.NewPath("resourceVersion"), text, err.Error())})
	}
	return rev, nil
}

// begin sends the head, so that the client knows that the watch stands.
func (w *watcher) begin() {
	contentType := w.c.out.ContentType()
	if w.c.out.Format == media.Protobuf {
		contentType += ";stream=watch"
	}
	w.c.w.Header().Set("Content-Type", contentType)
	w.c.w.WriteHeader(http.StatusOK)
	_ = w.flush() // a client that has gone is noticed by the next write
}

// run sends changes until ctx ends. The answer has begun: errors go out as events.
func (w *watcher) run(ctx context.Context) error {
	for {
		quiet, cancel := context.WithTimeout(ctx, bookmarkEvery)
		err := w.drain(quiet)
		cancel()
		switch {
		case ctx.Err() != nil:
			w.ended(w.bookmark())
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			err = w.bookmark()
		}
		if err != nil {
			return w.failed(err)
		}
	}
}

// drain sends changes until ctx ends or something breaks.
func (w *watcher) drain(ctx context.Context) error {
	for {
		events, revision, err := w.feed.Next(ctx)
		for _, event := range events {
			if err := w.event(event); err != nil {
				return err
			}
		}
		w.seen = max(w.seen, revision) // also when nothing came until ctx ended
		if err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

func (w *watcher) event(e state.Event) error {
	if e.Type == state.Bookmark {
		w.seen = e.Revision
		return w.initialEnd()
	}
	return w.send(e.Type, e.Entry)
}

func (w *watcher) send(kind state.EventType, it item) error {
	object, err := w.show(it)
	if err != nil {
		return err
	}
	w.counter.Inc()
	return w.frame(w.out, string(kind), object)
}

// initialEnd says that everything that existed has been sent.
func (w *watcher) initialEnd() error {
	if !w.initial || !w.bookmarks {
		return nil
	}
	w.initial = false
	return w.mark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
}

// bookmark says how far the watch has come, if the client wants to know.
func (w *watcher) bookmark() error {
	if !w.bookmarks || w.seen == 0 {
		return nil
	}
	if err := w.mark(nil); err != nil {
		return err
	}
	return w.flush()
}

func (w *watcher) mark(annotations map[string]string) error {
	obj := w.c.kind.New()
	obj.SetResourceVersion(strconv.FormatUint(w.seen, 10))
	obj.SetAnnotations(annotations)
	return w.send(state.Bookmark, w.c.s.item(w.c.kind, obj))
}

// failed tells the client why the watch ends, unless it ends because he has gone.
func (w *watcher) failed(err error) error {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		w.ended(err)
		return nil
	}
	object, err := w.c.s.codec.raw(statusOf(err), w.c.out.Format)
	if err == nil {
		err = w.frame(w.out, "ERROR", object)
	}
	if err == nil {
		err = w.flush()
	}
	w.ended(err)
	return nil
}

// ended notes why a watch that nobody reads any more ended.
func (w *watcher) ended(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.c.s.metrics.dropped.Inc()
	}
	if err != nil {
		w.c.s.log.Debug("watch ended", "path", w.c.r.URL.Path, "error", err)
	}
}

func (w *watcher) flush() error {
	// Not every ResponseWriter has deadlines; those of servers do.
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := w.out.Flush(); err != nil {
		return err
	}
	return w.control.Flush()
}
