package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"wherry/proto/nodelink"
)

var (
	metaBucket     = []byte("meta")
	objectsBucket  = []byte("objects")
	statusesBucket = []byte("statuses")
	formatKey      = []byte("format")
	welcomeKey     = []byte("welcome")
)

// format of the file. Older ones are migrated, newer ones refused.
const format = 1

// lockPatience is how long Open waits for an agent that is about to end.
const lockPatience = time.Second

// Open opens the journal at path, or begins it. A damaged file is put aside under another name. nil is the default
// logger. Errors: ErrLocked, ErrFormat.
func Open(path string, log *slog.Logger) (*Journal, error) {
	if log == nil {
		log = slog.Default()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j, err := open(path, log)
	if err == nil || errors.Is(err, ErrLocked) || errors.Is(err, ErrFormat) || !damaged(err) {
		return j, err
	}
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
	log.Error("the journal is damaged; it is put aside, the control plane will tell everything again", "file", aside, "err", err)
	if err := os.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("journal: put the damaged file aside: %w", err)
	}
	return open(path, log)
}

// errDamaged says that the file holds what this package did not write.
var errDamaged = errors.New("journal: damaged")

func damaged(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, bbolterrors.ErrInvalid) ||
		errors.Is(err, bbolterrors.ErrVersionMismatch) || errors.Is(err, bbolterrors.ErrChecksum)
}

func open(path string, log *slog.Logger) (*Journal, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, err
		}
	}
	db, err := openFile(path)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		db: db, log: log, dirty: make(chan struct{}, 1),
		objects: map[key]*nodelink.Change{}, statuses: map[string]*nodelink.PodStatus{}, changed: map[string]bool{},
	}
	if err := db.View(j.load); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return j, nil
}

func openFile(path string) (db *bbolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil { // bbolt panics on some damages
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w (%s)", ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("journal: open %s: %w", path, err)
	}
	return db, nil
}

// create makes the file under another name first: what has the name is whole, also after a power cut.
func create(path string) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("journal: %w", err)
	}
	db, err := openFile(fresh)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, objectsBucket, statusesBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(formatKey, []byte(strconv.Itoa(format)))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("journal: create: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("journal: create: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// load reads everything.
func (j *Journal) load(tx *bbolt.Tx) error {
	meta, objects, statuses := tx.Bucket(metaBucket), tx.Bucket(objectsBucket), tx.Bucket(statusesBucket)
	if meta == nil || objects == nil || statuses == nil {
		return fmt.Errorf("%w: a bucket is missing", errDamaged)
	}
	n, err := strconv.Atoi(string(meta.Get(formatKey)))
	if err != nil {
		return fmt.Errorf("%w: format %q", errDamaged, meta.Get(formatKey))
	}
	if n > format {
		return fmt.Errorf("%w (format %d, this one knows %d)", ErrFormat, n, format)
	}
	if b := meta.Get(welcomeKey); b != nil {
		j.welcome = new(nodelink.Welcome)
		if err := getMessage(b, j.welcome); err != nil {
			return err
		}
	}
	return errors.Join(objects.ForEachBucket(func(kind []byte) error {
		return objects.Bucket(kind).ForEach(j.loadObject)
	}), statuses.ForEach(j.loadStatus))
}

func (j *Journal) loadObject(_, value []byte) error {
	c := new(nodelink.Change)
	if err := getMessage(value, c); err != nil {
		return err
	}
	j.objects[keyOf(c)] = c
	return nil
}

func (j *Journal) loadStatus(uid, value []byte) error {
	s := new(nodelink.PodStatus)
	if err := getMessage(value, s); err != nil {
		return err
	}
	j.statuses[string(uid)] = s
	return nil
}

func getMessage(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

func putMessage(b *bbolt.Bucket, key []byte, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return b.Put(key, data)
}

func putChange(tx *bbolt.Tx, c *nodelink.Change) error {
	kind := strconv.Itoa(int(c.GetKind()))
	b, err := tx.Bucket(objectsBucket).CreateBucketIfNotExists([]byte(kind))
	if err != nil {
		return err
	}
	name := []byte(c.GetNamespace() + "/" + c.GetName())
	if len(c.GetObject()) > 0 {
		return putMessage(b, name, c)
	}
	old := new(nodelink.Change)
	if err := getMessage(b.Get(name), old); err != nil || !removes(c, old) {
		return err
	}
	return b.Delete(name)
}

// putStatus writes a status, or removes it if there is none any more.
func putStatus(tx *bbolt.Tx, uid string, s *nodelink.PodStatus) error {
	b := tx.Bucket(statusesBucket)
	if s == nil {
		return b.Delete([]byte(uid))
	}
	return putMessage(b, []byte(uid), s)
}
