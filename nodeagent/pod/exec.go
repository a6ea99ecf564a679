package pod

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/pod/probe"
	"wherry/nodeagent/runtime"
)

// exec runs commands in the run of a container that goes on.
func (w *worker) exec(p *corev1.Pod, have *Have, name string) probe.Exec {
	c := have.Containers[name]
	driver, id := c.Driver, w.id(p, name, c.Attempt) // have is not the command's to read
	return func(ctx context.Context, command []string, output io.Writer) (int, error) {
		for _, d := range w.Runtimes {
			if d.Name() != driver {
				continue
			}
			x, ok := d.(runtime.Execer)
			if !ok {
				return 0, fmt.Errorf("the %s runtime runs no commands in containers", d.Name())
			}
			return x.Exec(ctx, id, command, runtime.Console{Stdout: output, Stderr: output})
		}
		return 0, fmt.Errorf("container %s: %w", name, runtime.ErrNotFound)
	}
}

// expandStatic expands a probe's command as a kubelet does: with the variables that have a plain value.
func expandStatic(spec *corev1.Container, command []string) []string {
	return expandAll(command, func(name string) (value string, ok bool) {
		for _, e := range spec.Env {
			if e.Name == name && e.ValueFrom == nil {
				value, ok = e.Value, true
			}
		}
		return value, ok
	})
}
