package stream

import (
	"errors"
	"testing"
	"testing/synctest"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/runtime/fake"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// withContainer runs test with a running container of the fake driver.
func withContainer(t *testing.T, test func(n *node, d *fake.Driver)) {
	inNode(t, func(n *node) {
		d := (&fake.Machine{Attached: true}).Driver()
		n.execer = d
		n.container(0, running, nothing)
		if err := d.Start(t.Context(), runtime.Spec{ID: runtime.ID{Pod: "u1", Container: "app"}}); err != nil {
			t.Fatal(err)
		}
		test(n, d)
		synctest.Wait()
		d.Close()
	})
}

func execOf(streams *nodelink.Streams, command ...string) *nodelink.Open {
	return &nodelink.Open{Body: &nodelink.Open_Exec{Exec: &nodelink.Exec{PodUid: "u1", Container: "app", Command: command, Streams: streams}}}
}

func (n *node) say(st link.Stream, m *nodelink.Console) {
	n.Helper()
	if err := nodelink.WriteMessage(st, m); err != nil {
		n.Fatal(err)
	}
}

// tell says it to a process that may have ended: then nobody takes it, and what the process said is still to be read.
func (n *node) tell(st link.Stream, m *nodelink.Console) {
	n.Helper()
	err := nodelink.WriteMessage(st, m)
	if gone := (*link.Error)(nil); err != nil && !(errors.As(err, &gone) && gone.Code == link.CodeCanceled) {
		n.Fatal(err)
	}
}

// hear reads until the process has ended.
func (n *node) hear(st link.Stream) (out, warnings string, exit *nodelink.Exit) {
	n.Helper()
	for {
		m := &nodelink.Console{}
		if err := nodelink.ReadMessage(st, m, nodelink.MaxConsole); err != nil {
			n.Fatal(err)
		}
		out += string(m.GetStdout())
		warnings += string(m.GetStderr())
		if m.GetExit() != nil {
			return out, warnings, m.GetExit()
		}
	}
}

var all = &nodelink.Streams{Stdin: true, Stdout: true, Stderr: true}

func TestExec(t *testing.T) {
	withContainer(t, func(n *node, _ *fake.Driver) {
		for _, tt := range []struct {
			streams       *nodelink.Streams
			command       []string
			typed         string
			out, warnings string
			code          int32
			error         string
		}{
			{all, []string{"echo", "a", "b"}, "", "a b\n", "", 0, ""},
			{all, []string{"cat"}, "typed", "typed", "", 0, ""},
			{all, []string{"warn", "w"}, "", "", "w\n", 0, ""},
			{&nodelink.Streams{Stdout: true}, []string{"warn", "w"}, "", "", "", 0, ""},
			{&nodelink.Streams{Stdout: true}, []string{"cat"}, "", "", "", 0, ""},
			{all, []string{"exit", "3"}, "nobody reads this", "", "", 3, ""},
			{all, []string{"dance"}, "", "", "", 127, "dance: not found"},
		} {
			st := n.must(execOf(tt.streams, tt.command...))
			if tt.typed != "" {
				n.tell(st, &nodelink.Console{Body: &nodelink.Console_Stdin{Stdin: []byte(tt.typed)}})
			}
			n.tell(st, &nodelink.Console{Body: &nodelink.Console_StdinClosed{StdinClosed: true}})
			out, warnings, exit := n.hear(st)
			if out != tt.out || warnings != tt.warnings || exit.GetCode() != tt.code || exit.GetError() != tt.error {
				t.Errorf("%v: %q, %q, %v", tt.command, out, warnings, exit)
			}
			st.Close()
		}
	})
}

func TestResize(t *testing.T) {
	withContainer(t, func(n *node, d *fake.Driver) {
		st := n.must(execOf(&nodelink.Streams{Stdout: true, Tty: true}, "size"))
		n.say(st, &nodelink.Console{Body: &nodelink.Console_Resize{Resize: &nodelink.Size{Columns: 80, Rows: 25}}})
		synctest.Wait()
		d.Machine().Exit(runtime.ID{Pod: "u1", Container: "app"}, 0)
		if out, _, exit := n.hear(st); out != "80x25\n" || exit.GetError() != "" {
			t.Errorf("%q, %v", out, exit)
		}
		st.Close()
	})
}

func TestAttachStaysUntilTheContainerEnds(t *testing.T) {
	withContainer(t, func(n *node, d *fake.Driver) {
		st := n.must(&nodelink.Open{Body: &nodelink.Open_Attach{Attach: &nodelink.Attach{PodUid: "u1", Container: "app", Streams: all}}})
		n.say(st, &nodelink.Console{Body: &nodelink.Console_Stdin{Stdin: []byte("hello")}})
		synctest.Wait()
		d.Machine().Exit(runtime.ID{Pod: "u1", Container: "app"}, 0)
		if out, _, exit := n.hear(st); out != "hello" || exit.GetError() != "" {
			t.Errorf("%q, %v", out, exit)
		}
		st.Close()
	})
}

// A user who goes away ends the command that he started, also when he has typed ahead; the bubble tells what is left.
func TestUserGoesAway(t *testing.T) {
	withContainer(t, func(n *node, _ *fake.Driver) {
		st := n.must(execOf(all, "sleep"))
		for range typedAhead {
			n.say(st, &nodelink.Console{Body: &nodelink.Console_Stdin{Stdin: []byte("wake up")}})
		}
		st.Reset(link.CodeCanceled)
	})
}

func TestExecRefusals(t *testing.T) {
	inNode(t, func(n *node) {
		ask := func(o *nodelink.Open, want string) {
			t.Helper()
			st, why := n.open(o)
			if why != want {
				t.Errorf("got %q, want %q", why, want)
			}
			st.Close()
		}
		ask(execOf(all, "sh"), `container not found ("app")`)
		n.container(0, crashing, terminated)
		ask(execOf(all, "sh"), `container "app" in pod "web" is not running`)
		n.container(0, running, nothing)
		ask(execOf(all, "sh"), "no exec here")
		ask(execOf(all), "you must specify at least 1 command for the container")
		other := execOf(all, "sh")
		other.GetExec().PodUid = "other"
		ask(other, `no pod with uid "other" is on this node now`)
	})
}
