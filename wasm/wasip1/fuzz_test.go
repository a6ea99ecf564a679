package wasip1

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/tetratelabs/wazero/sys"
)

// FuzzCalls calls any function with any arguments over any memory: a guest may be told so, or end; the host must not.
// A guest that waits is killed.
func FuzzCalls(f *testing.F) {
	for i, function := range functions {
		f.Add(uint8(i), []byte{3, 0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0}, []byte(function.name))
		f.Add(uint8(i), make([]byte, 72), clockSub(1, 1, 5, 0))
	}
	f.Fuzz(func(t *testing.T, which uint8, args, memory []byte) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		n := newMemNetwork()
		c := newCaller(t, Config{
			Args: []string{"fuzz"}, Env: []string{"A=b"}, Mounts: []Mount{{Host: t.TempDir(), Guest: "/"}}, Network: streams{n},
			Listen: []Address{{"tcp", n.at(80)}}, Blocked: func() func() { cancel(); return func() {} },
		})
		c.must("sock_open", familyInet, socketStream, 8)
		c.must("sock_open", familyInet, socketDatagram, 8)
		c.create("file", "content")
		c.open("file", 0)
		c.ctx = With(ctx, c.sys)
		c.mod.Memory().Write(16, memory[:min(len(memory), 1<<15)])
		function := functions[int(which)%len(functions)]
		stack := make([]uint64, len(function.params)+1)
		for i := range function.params {
			var b [8]byte
			copy(b[:], args[min(len(args), 4*i):])
			stack[i] = uint64(binary.LittleEndian.Uint32(b[:]))
			if function.params[i] == 'I' {
				stack[i] = binary.LittleEndian.Uint64(b[:])
			}
		}
		defer func() {
			if r := recover(); r != nil {
				if _, ended := r.(*sys.ExitError); !ended {
					panic(r)
				}
			}
		}()
		function.call(c.ctx, c.mod, stack)
		if e := errno(stack[0]); e > aiSockType {
			t.Errorf("%s: errno %d", function.name, e)
		}
	})
}
