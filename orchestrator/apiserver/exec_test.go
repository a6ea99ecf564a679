package apiserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

// executors are kubectl's two ways to exec.
var executors = map[string]func(*rest.Config, *url.URL) (remotecommand.Executor, error){
	"websocket": func(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(config, http.MethodGet, u.String())
	},
	"spdy": func(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(config, http.MethodPost, u)
	},
}

// sizeQueue tells one size.
type sizeQueue chan remotecommand.TerminalSize

func (q sizeQueue) Next() *remotecommand.TerminalSize {
	if size, ok := <-q; ok {
		return &size
	}
	return nil
}

func TestExec(t *testing.T) {
	for name, executor := range executors {
		t.Run(name, func(t *testing.T) {
			nodes := &fakeNodes{}
			c := start(t, withNodes(nodes))
			ensure(c, newNode("vm"), newRunningPod("p", "a"))
			config := c.serve()
			client := c.clientset()
			run := func(subresource string, o *corev1.PodExecOptions, with remotecommand.StreamOptions) error {
				t.Helper()
				u := client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").
					SubResource(subresource).VersionedParams(o, scheme.ParameterCodec).URL()
				u.Host = strings.TrimPrefix(config.Host, "https://")
				e, err := executor(config, u)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				return e.StreamWithContext(ctx, with)
			}

			text := strings.Repeat("all that is typed comes back\n", 5000)
			for _, door := range []string{"exec", "attach"} {
				var out bytes.Buffer
				err := run(door, &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true},
					remotecommand.StreamOptions{Stdin: strings.NewReader(text), Stdout: &out})
				if err != nil || out.String() != text {
					t.Errorf("%s: %d of %d bytes, %v", door, out.Len(), len(text), err)
				}
			}

			var out, warnings bytes.Buffer
			err := run("exec", &corev1.PodExecOptions{Command: []string{"warn"}, Stdout: true, Stderr: true},
				remotecommand.StreamOptions{Stdout: &out, Stderr: &warnings})
			if err != nil || out.Len() > 0 || warnings.String() != "beware" {
				t.Errorf("%q, %q, %v", out.String(), warnings.String(), err)
			}

			sizes := make(sizeQueue, 1)
			sizes <- remotecommand.TerminalSize{Width: 132, Height: 50}
			out.Reset()
			err = run("exec", &corev1.PodExecOptions{Command: []string{"size"}, Stdin: true, Stdout: true, TTY: true},
				remotecommand.StreamOptions{Stdin: blocked(t), Stdout: &out, Tty: true, TerminalSizeQueue: sizes})
			close(sizes)
			if err != nil || out.String() != "132x50" {
				t.Errorf("%q, %v", out.String(), err)
			}

			err = run("exec", &corev1.PodExecOptions{Command: []string{"exit"}, Stdout: true}, remotecommand.StreamOptions{Stdout: &out})
			var code exec.CodeExitError
			if !errors.As(err, &code) || code.Code != 3 {
				t.Errorf("exit: %v", err)
			}
			err = run("exec", &corev1.PodExecOptions{Command: []string{"dance"}, Stdout: true}, remotecommand.StreamOptions{Stdout: &out})
			if err == nil || !strings.Contains(err.Error(), "error executing command in container: dance: not found") {
				t.Errorf("no command: %v", err)
			}
			nodes.refuse = "this node is asleep"
			if err := run("exec", &corev1.PodExecOptions{Command: []string{"cat"}, Stdout: true}, remotecommand.StreamOptions{Stdout: &out}); err == nil {
				t.Error("a node that refuses was not noticed")
			}
			nodes.running.Wait()
		})
	}
}

// blocked is a terminal at which nobody types.
func blocked(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r
}

// Older clients and browsers: text frames of base64, and no status when all went well.
func TestExecInBase64(t *testing.T) {
	nodes := &fakeNodes{}
	c := start(t, withNodes(nodes))
	ensure(c, newNode("vm"), newRunningPod("p", "a"))
	config := c.serve()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for protocol, want := range map[string]string{
		"base64.channel.k8s.io":    "1,2YmV3YXJl,3",
		"v4.base64.channel.k8s.io": "1,2YmV3YXJl,3eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IlN1Y2Nlc3MifQ==",
	} {
		at := "https" + strings.TrimPrefix(config.Host, "https") + "/api/v1/namespaces/default/pods/p/exec?command=warn&stdout=1&stderr=1"
		conn, _, err := websocket.Dial(t.Context(), at, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			_, message, err := conn.Read(t.Context())
			if err != nil {
				break
			}
			got = append(got, string(message))
		}
		if all := strings.Join(got, ","); all != want && all+",3" != want {
			t.Errorf("%s: %s, want %s", protocol, all, want)
		}
		conn.CloseNow()
	}
	nodes.running.Wait()
}
