package image

import (
	"maps"
	"os"
	"slices"
	"time"
)

// collect removes images that no pod uses, as the configuration says. What it removed is saved with the next change: an
// index that names a module without a file is read as one that does not.
func (i *Images) collect() {
	total := i.bytes()
	for _, rec := range i.unused() {
		idle := min(time.Since(rec.LastUsed), time.Since(i.started))
		old := time.Since(rec.LastUsed) >= i.config.MaxUnused
		if idle < i.config.MinUnused || !old && total <= i.config.MaxBytes {
			continue
		}
		total -= i.remove(rec)
	}
}

// unused are the images that no pod uses, those that were used longest ago first.
func (i *Images) unused() []record {
	used := map[string]bool{}
	for _, digests := range i.used {
		for _, d := range digests {
			used[d] = true
		}
	}
	all := slices.DeleteFunc(slices.Collect(maps.Values(i.index.Images)), func(r record) bool { return used[r.Digest] })
	slices.SortFunc(all, func(a, b record) int { return a.LastUsed.Compare(b.LastUsed) })
	return all
}

// bytes is the size of all modules, each once.
func (i *Images) bytes() (sum int64) {
	counted := map[string]bool{}
	for _, rec := range i.index.Images {
		if !counted[rec.Module] {
			counted[rec.Module] = true
			sum += rec.Size
		}
	}
	return sum
}

// remove forgets the image, and says how many bytes became free.
func (i *Images) remove(rec record) int64 {
	delete(i.index.Images, rec.Digest)
	maps.DeleteFunc(i.index.References, func(_, digest string) bool { return digest == rec.Digest })
	for _, other := range i.index.Images {
		if other.Module == rec.Module {
			return 0
		}
	}
	if err := os.Remove(i.modulePath(rec.Module)); err != nil {
		i.log.Warn("an unused module cannot be removed", "digest", rec.Module, "err", err)
		return 0
	}
	i.log.Info("removed an unused image", "digest", rec.Digest, "bytes", rec.Size)
	return rec.Size
}
