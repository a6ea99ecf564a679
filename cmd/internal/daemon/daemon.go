// Package daemon is what the long-running commands have in common: a configuration file
// with the names of the flags, logs, and how they are stopped.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Flags are those that every long-running command has.
type Flags struct {
	DataDir   string
	Config    string
	LogLevel  string
	LogFormat string
}

// Add declares the flags on a command.
func (f *Flags) Add(flags *pflag.FlagSet, dataDir string) {
	flags.StringVar(&f.DataDir, "data-dir", dataDir, "directory of all state; nothing is written outside of it")
	flags.StringVar(&f.Config, "config", "", "YAML file with the names of these flags; flags win over it")
	flags.StringVar(&f.LogLevel, "log-level", "info", "least level of log lines: debug, info, warn or error")
	flags.StringVar(&f.LogFormat, "log-format", "text", "form of log lines: text or json")
}

// Complete reads the configuration file, if one is named, into flags that are not set.
// Errors name the file and the key.
func (f *Flags) Complete(c *cobra.Command) error {
	if f.Config == "" {
		return nil
	}
	data, err := os.ReadFile(f.Config)
	if err != nil {
		return fmt.Errorf("reading --config: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("%s: %w", f.Config, err)
	}
	for name, value := range values {
		flag := c.Flags().Lookup(name)
		if flag == nil || name == "config" {
			return fmt.Errorf("%s: %q is no flag of `%s`", f.Config, name, c.CommandPath())
		}
		if flag.Changed {
			continue
		}
		if err := c.Flags().Set(name, text(value)); err != nil {
			return fmt.Errorf("%s: %s: %w", f.Config, name, err)
		}
	}
	return nil
}

// text writes a YAML value as it would stand behind a flag; a list is joined by commas.
func text(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}

// Logger makes the logger that the flags ask for.
func (f *Flags) Logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", f.LogLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch f.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is neither text nor json", f.LogFormat)
}

// Main runs a command until it ends. An interrupt ends its context, a second one the
// process. It returns the exit code.
func Main(c *cobra.Command) int {
	c.SilenceUsage, c.SilenceErrors = true, true
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from here on an interrupt has its usual meaning
	var settling sync.WaitGroup
	settling.Go(func() { settle(ctx) })
	err := c.ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	settling.Wait()
	if err == nil || errors.Is(err, context.Canceled) && interrupted {
		return 0
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}
