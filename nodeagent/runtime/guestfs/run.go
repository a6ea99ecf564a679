package guestfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Streams are what a command reads and writes. Stdin may be nil.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// commands are those that kubectl cp needs.
var commands = map[string]func(f *FS, ctx context.Context, args []string, s Streams) int{
	"tar":  (*FS).tar,
	"test": (*FS).test,
}

// Has says whether there is such a command.
func Has(name string) bool { return commands[name] != nil }

// Run runs a command that Has, and returns its exit code. When ctx has ended so does the command, as soon as its streams let it.
func (f *FS) Run(ctx context.Context, command []string, s Streams) int {
	return commands[command[0]](f, ctx, command[1:], s)
}

// test answers whether a path is there, and what it is.
func (f *FS) test(_ context.Context, args []string, s Streams) int {
	if len(args) != 2 {
		_, _ = fmt.Fprintln(s.Stderr, "test: -d PATH, -e PATH or -f PATH is expected") // the code tells, too
		return 2
	}
	abs := f.abs(args[1])
	info, err := f.stat(abs)
	yes := false
	switch args[0] {
	case "-d":
		yes = f.isDir(abs)
	case "-e":
		yes = err == nil || f.between(abs)
	case "-f":
		yes = err == nil && info.Mode().IsRegular()
	default:
		_, _ = fmt.Fprintf(s.Stderr, "test: %s: unknown operator\n", args[0]) // as above
		return 2
	}
	if yes {
		return 0
	}
	return 1
}

// codeTar is tar's for all that goes wrong.
const codeTar = 2

// options of a tar.
type options struct {
	create, extract bool
	file            string
	into            string
	now             bool // times are those of the extraction
	umask           bool // modes are not kept as they are
	paths           []string
}

// parse reads tar's flags: bundled with or without a dash, and the long ones that kubectl uses.
func parse(args []string) (options, error) {
	o := options{into: "."}
	for i := 0; i < len(args); i++ {
		value := func() (string, error) {
			if i++; i >= len(args) {
				return "", errors.New("an option has no value")
			}
			return args[i], nil
		}
		arg := args[i]
		switch {
		case arg == "--":
			o.paths = append(o.paths, args[i+1:]...)
			return o, nil
		case strings.HasPrefix(arg, "--"):
			if err := o.long(arg); err != nil {
				return o, err
			}
		case i == 0, len(arg) > 1 && arg[0] == '-':
			if err := o.short(strings.TrimPrefix(arg, "-"), value); err != nil {
				return o, err
			}
		default:
			o.paths = append(o.paths, arg)
		}
	}
	if o.create == o.extract || o.file != "-" {
		return o, errors.New("either c or x is expected, with f -: archives are written to standard output and read from standard input")
	}
	return o, nil
}

func (o *options) long(arg string) error {
	switch arg {
	case "--no-same-owner": // nothing has an owner here
	case "--no-same-permissions":
		o.umask = true
	default:
		return fmt.Errorf("option %s is not supported", arg)
	}
	return nil
}

func (o *options) short(flags string, value func() (string, error)) (err error) {
	for _, flag := range flags {
		switch flag {
		case 'c':
			o.create = true
		case 'x':
			o.extract = true
		case 'f':
			o.file, err = value()
		case 'C':
			o.into, err = value()
		case 'm':
			o.now = true
		case 'o', 'p': // nothing has an owner here; modes are kept
		default:
			err = fmt.Errorf("option -%c is not supported", flag)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *FS) tar(ctx context.Context, args []string, s Streams) int {
	o, err := parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(s.Stderr, "tar: %v\n", err) // the code tells, too
		return codeTar
	}
	t := &tar{FS: f, ctx: ctx, options: o, streams: s}
	if o.create {
		t.create()
	} else {
		t.extract()
	}
	if t.failed {
		t.say("tar: Exiting with failure status due to previous errors")
		return codeTar
	}
	return 0
}

// tar is one run of it.
type tar struct {
	*FS
	options
	ctx     context.Context
	streams Streams
	failed  bool
	said    int // lines
	members int
}

const (
	// maxMembers is how many members an archive may have.
	maxMembers = 1 << 20
	// maxSaid is how many lines of complaints there are.
	maxSaid = 1000
)

// member counts one more.
func (t *tar) member() error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if t.members++; t.members > maxMembers {
		return fmt.Errorf("more than %d members", maxMembers)
	}
	return nil
}

func (t *tar) say(line string) {
	if t.said++; t.said <= maxSaid {
		_, _ = fmt.Fprintln(t.streams.Stderr, line) // the code tells, too
	}
}

// fail tells what is wrong with a path, and goes on.
func (t *tar) fail(name, what string, err error) {
	t.failed = true
	var in *fs.PathError
	if errors.As(err, &in) { // without paths of the host
		err = in.Err
	}
	t.say(fmt.Sprintf("tar: %s: %s: %v", name, what, err))
}
