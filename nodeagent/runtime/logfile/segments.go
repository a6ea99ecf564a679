package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segments returns the numbers of the full files of path, rising.
func segments(path string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("logfile: list: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(suffix); err == nil && n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func segmentPath(path string, n int) string { return path + "." + strconv.Itoa(n) }

// rotate gives the file at path, which must be closed for writing, the next number, and removes the oldest ones so
// that at most keep numbered files remain.
func rotate(path string, keep int) error {
	numbers, err := segments(path)
	if err != nil {
		return err
	}
	next := 1
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	if keep == 0 {
		return os.Remove(path)
	}
	if err := os.Rename(path, segmentPath(path, next)); err != nil {
		return fmt.Errorf("logfile: rotate: %w", err)
	}
	for len(numbers)+1 > keep {
		if err := remove(segmentPath(path, numbers[0])); err != nil {
			return err
		}
		numbers = numbers[1:]
	}
	return nil
}

// Remove removes the log and its full files. It is no error if there are none.
func Remove(path string) error {
	numbers, err := segments(path)
	for _, n := range numbers {
		err = errors.Join(err, remove(segmentPath(path, n)))
	}
	return errors.Join(err, remove(path))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("logfile: remove: %w", err)
	}
	return nil
}
