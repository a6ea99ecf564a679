package pod

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"wherry/nodeagent/pod/probe"
)

// hook runs a lifecycle hook. As with a kubelet every HTTP answer is a success, whatever its status.
func (w *worker) hook(ctx context.Context, p *corev1.Pod, have *Have, spec *corev1.Container, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		output, code, err := probe.Run(ctx, w.exec(p, have, spec.Name), h.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command %q exited with %d: %s", strings.Join(h.Exec.Command, " "), code, output)
		}
		return err
	case h.HTTPGet != nil:
		_, _, err := probe.Get(ctx, w.target(p, have, spec), h.HTTPGet)
		return err
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("this kind of hook is not supported: use exec, httpGet or sleep")
}

func (w *worker) target(p *corev1.Pod, have *Have, spec *corev1.Container) probe.Target {
	return probe.Target{Address: have.Address, Ports: spec.Ports, Dial: w.Network.Dial, Exec: w.exec(p, have, spec.Name)}
}
