// Files is an ordinary Go program: it writes, reads, renames and lists files in its working directory.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(3)
	}
}

func run() error {
	fmt.Println("args", strings.Join(os.Args[1:], " "), "env", os.Getenv("GREETING"))
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	fmt.Println("wd", wd)
	if in, err := io.ReadAll(os.Stdin); err != nil || len(in) > 0 {
		fmt.Println("stdin", string(in), err)
	}
	if err := os.MkdirAll("a/b", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("a/b/one", []byte("first "), 0o644); err != nil {
		return err
	}
	f, err := os.OpenFile("a/b/one", os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("second"); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	stamp := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes("a/b/one", stamp, stamp); err != nil {
		return err
	}
	if err := os.Rename("a/b/one", "two"); err != nil {
		return err
	}
	info, err := os.Stat("two")
	if err != nil {
		return err
	}
	data, err := os.ReadFile("two")
	if err != nil {
		return err
	}
	fmt.Printf("two %q size %d time %d\n", data, info.Size(), info.ModTime().Unix())
	if err := os.Symlink("two", "link"); err != nil {
		return err
	}
	target, err := os.Readlink("link")
	if err != nil {
		return err
	}
	fmt.Println("link", target)
	err = filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		fmt.Println("walk", path, d.Type())
		return err
	})
	if err != nil {
		return err
	}
	if err := os.RemoveAll("a"); err != nil {
		return err
	}
	_, err = os.Stat("a")
	fmt.Println("gone", os.IsNotExist(err))
	_, err = os.ReadFile("../outside")
	fmt.Println("outside", err != nil)
	return nil
}
