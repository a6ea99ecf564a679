// Package store keeps keys and bytes in one revision-ordered history.
//
// It knows nothing of Kubernetes. An implementation is judged by the suite in
// storetest; boltstore keeps a file, memstore keeps nothing.
//
// Every commit gets one revision. Revisions grow, are never given twice, not even
// after an unclean stop, and order everything that a watcher sees.
package store

import (
	"context"
	"errors"
)

var (
	// ErrConflict says that a condition of a commit does not hold. Nothing was
	// written. It is returned wrapped in a *ConflictError.
	ErrConflict = errors.New("store: condition does not hold")
	// ErrCompacted says that the history after the asked revision is gone. The
	// caller lists anew.
	ErrCompacted = errors.New("store: revision has been compacted")
	// ErrFuture says that the asked revision has not been reached.
	ErrFuture = errors.New("store: revision is in the future")
	// ErrNotFound says that the key does not exist at the asked revision.
	ErrNotFound = errors.New("store: key not found")
	// ErrTooLarge says that a key or value exceeds MaxKey or MaxValue, or a commit MaxOps.
	ErrTooLarge = errors.New("store: too large")
	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("store: closed")
)

// Bounds of what a store takes.
const (
	MaxKey   = 1 << 10 // bytes
	MaxValue = 3 << 20 // bytes
	MaxOps   = 512     // operations in one commit
)

// Revision numbers a commit. The first commit of an empty store is 1; 0 means
// "none" or "the newest", as each method says.
type Revision = uint64

// Entry is one key as it was written by one commit. Value is shared and must not be
// modified.
type Entry struct {
	Key      string
	Value    []byte
	Created  Revision // the commit since which the key exists without a gap
	Revision Revision // the commit that wrote this value
}

// Event is one change of one key. For a deletion, Deleted is true, Entry.Value is
// the last value, Entry.Revision is the revision of the deletion. Prev is the entry
// that was replaced or deleted; its Revision is 0 if the key did not exist.
type Event struct {
	Deleted bool
	Entry   Entry
	Prev    Entry
}

// Op is one conditional operation of a commit.
type Op struct {
	Key string
	// Value is what to write; nil deletes. An empty value is []byte{}.
	Value []byte
	// If, when not nil, must equal the key's present Revision; 0 means that the key must
	// not exist. Deleting a key that does not exist, unconditionally, changes nothing.
	If *Revision
	// Lazy marks a write that may be lost in a crash (Events): it is acknowledged and
	// shown to watchers before it is durable. A commit is lazy only if all its ops are.
	Lazy bool
}

// At returns a condition for Op.If: the key is at rev, or absent if rev is 0.
func At(rev Revision) *Revision { return &rev }

// ConflictError names the key whose condition failed and its present entry
// (Revision 0 if it does not exist). It unwraps to ErrConflict.
type ConflictError struct {
	Key     string
	Present Entry
}

func (e *ConflictError) Error() string { return ErrConflict.Error() + ": " + e.Key }
func (e *ConflictError) Unwrap() error { return ErrConflict }

// ListOptions say which part of a prefix to list.
type ListOptions struct {
	// After skips keys up to and including it; empty starts at the prefix.
	After string
	// Limit bounds the number of entries; 0 means no bound.
	Limit int
	// Revision asks for the keys as they were then; 0 means now.
	Revision Revision
}

// Page is an answer to List: entries in key order as they all were at Revision.
type Page struct {
	Entries   []Entry
	Revision  Revision
	Remaining int // how many more keys lie behind the last one
}

// Watcher hands out the changes under a prefix. It is pulled: nothing is buffered for a
// slow reader beyond the store's own history, and one that falls behind it gets
// ErrCompacted.
type Watcher interface {
	// Next waits for changes and returns them: at least one, in revision order, each
	// once, all changes of one commit in the same batch. Behind the returned batch, at
	// the returned revision, nothing under the prefix is missing.
	// Errors: ErrCompacted, ErrClosed, the context's.
	Next(ctx context.Context) ([]Event, Revision, error)
	// Close ends the watch; a Next that waits returns ErrClosed.
	Close()
}

// Store is what an implementation writes. All methods may be called concurrently.
type Store interface {
	// Get returns the newest entry of key. Errors: ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// List returns the keys with the prefix, in order.
	// Errors: ErrCompacted, ErrFuture.
	List(ctx context.Context, prefix string, o ListOptions) (Page, error)
	// Watch returns the changes under prefix after the revision.
	// Errors: ErrCompacted, ErrFuture.
	Watch(ctx context.Context, prefix string, after Revision) (Watcher, error)
	// Commit does all ops or none, in one revision, durable before it returns unless
	// lazy. A key may appear in one op only. If no op changes anything, the newest
	// revision is returned and no new one is made.
	// Errors: *ConflictError, ErrTooLarge; any other means that nothing was
	// acknowledged and the outcome is unknown.
	Commit(ctx context.Context, ops ...Op) (Revision, error)
	// Revision is the newest revision that watchers can see.
	Revision() Revision
	// Compact forgets the history up to and including rev, keeping the newest entry of
	// every key. Implementations also compact on their own.
	Compact(ctx context.Context, rev Revision) error
	// Close waits for running commits and releases everything.
	Close() error
}
