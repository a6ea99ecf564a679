package wasip1

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// ModuleName is what guests import from.
const ModuleName = "wasi_snapshot_preview1"

// function is one host function. Its parameters are letters: i is an i32, I an i64.
type function struct {
	name   string
	params string
	do     func(call) errno
}

// functions is the whole module. Of WasmEdge's socket extension the names belong to its second version (the one
// that agrees with preview 1); the four functions that differ in the first are there as "<name>_v1": see ImportName.
var functions = []function{
	{"args_get", "ii", argsGet},
	{"args_sizes_get", "ii", argsSizesGet},
	{"environ_get", "ii", environGet},
	{"environ_sizes_get", "ii", environSizesGet},
	{"clock_res_get", "ii", clockResGet},
	{"clock_time_get", "iIi", clockTimeGet},
	{"random_get", "ii", randomGet},
	{"sched_yield", "", schedYield},
	{"proc_raise", "i", procRaise},
	{"poll_oneoff", "iiii", pollOneoff},

	{"fd_advise", "iIIi", fdAdvise},
	{"fd_allocate", "iII", fdAllocate},
	{"fd_close", "i", fdClose},
	{"fd_datasync", "i", fdDatasync},
	{"fd_fdstat_get", "ii", fdFdstatGet},
	{"fd_fdstat_set_flags", "ii", fdFdstatSetFlags},
	{"fd_fdstat_set_rights", "iII", fdFdstatSetRights},
	{"fd_filestat_get", "ii", fdFilestatGet},
	{"fd_filestat_set_size", "iI", fdFilestatSetSize},
	{"fd_filestat_set_times", "iIIi", fdFilestatSetTimes},
	{"fd_pread", "iiiIi", fdPread},
	{"fd_prestat_get", "ii", fdPrestatGet},
	{"fd_prestat_dir_name", "iii", fdPrestatDirName},
	{"fd_pwrite", "iiiIi", fdPwrite},
	{"fd_read", "iiii", fdRead},
	{"fd_readdir", "iiiIi", fdReaddir},
	{"fd_renumber", "ii", fdRenumber},
	{"fd_seek", "iIii", fdSeek},
	{"fd_sync", "i", fdSync},
	{"fd_tell", "ii", fdTell},
	{"fd_write", "iiii", fdWrite},

	{"path_create_directory", "iii", pathCreateDirectory},
	{"path_filestat_get", "iiiii", pathFilestatGet},
	{"path_filestat_set_times", "iiiiIIi", pathFilestatSetTimes},
	{"path_link", "iiiiiii", pathLink},
	{"path_open", "iiiiiIIii", pathOpen},
	{"path_readlink", "iiiiii", pathReadlink},
	{"path_remove_directory", "iii", pathRemoveDirectory},
	{"path_rename", "iiiiii", pathRename},
	{"path_symlink", "iiiii", pathSymlink},
	{"path_unlink_file", "iii", pathUnlinkFile},

	{"sock_accept", "iii", sockAccept},
	{"sock_recv", "iiiiii", sockRecv},
	{"sock_send", "iiiii", sockSend},
	{"sock_shutdown", "ii", sockShutdown},

	{"sock_open", "iii", sockOpen},
	{"sock_bind", "iii", sockBind},
	{"sock_listen", "ii", sockListen},
	{"sock_connect", "iii", sockConnect},
	{"sock_send_to", "iiiiiii", sockSendTo},
	{"sock_getsockopt", "iiiii", sockGetsockopt},
	{"sock_setsockopt", "iiiii", sockSetsockopt},
	{"sock_getaddrinfo", "iiiiiiii", sockGetaddrinfo},
	{"sock_recv_from", "iiiiiiii", sockRecvFrom},
	{"sock_getlocaladdr", "iii", sockGetlocaladdr},
	{"sock_getpeeraddr", "iii", sockGetpeeraddr},

	{"sock_accept_v2", "iii", sockAccept},
	{"sock_recv_from_v2", "iiiiiiii", sockRecvFrom},
	{"sock_getlocaladdr_v2", "iii", sockGetlocaladdr},
	{"sock_getpeeraddr_v2", "iii", sockGetpeeraddr},

	{"sock_accept_v1", "ii", sockAcceptV1},
	{"sock_recv_from_v1", "iiiiiii", sockRecvFromV1},
	{"sock_getlocaladdr_v1", "iiii", sockGetlocaladdrV1},
	{"sock_getpeeraddr_v1", "iiii", sockGetpeeraddrV1},
}

// firstVersion counts the parameters by which guests of the socket extension's first version give themselves away.
var firstVersion = map[string]int{
	"sock_accept":       2,
	"sock_recv_from":    7,
	"sock_getlocaladdr": 4,
	"sock_getpeeraddr":  4,
}

// ImportName returns the name under which a function of module ModuleName that a guest imports with so many
// parameters is found here. It differs from name only for the first version of the socket extension: whoever loads
// such a guest renames the import.
func ImportName(name string, params int) string {
	if n, ok := firstVersion[name]; ok && n == params {
		return name + "_v1"
	}
	return name
}

// Instantiate adds module ModuleName to a runtime, once; all guests of the runtime share it.
func Instantiate(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(ModuleName)
	result := []api.ValueType{api.ValueTypeI32}
	for _, f := range functions {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(f.call), valueTypes(f.params), result).Export(f.name)
	}
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(procExit), valueTypes("i"), nil).Export("proc_exit")
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("wasip1: instantiate %s: %w", ModuleName, err)
	}
	return nil
}

func valueTypes(params string) []api.ValueType {
	types := make([]api.ValueType, len(params))
	for i, p := range params {
		types[i] = api.ValueTypeI32
		if p == 'I' {
			types[i] = api.ValueTypeI64
		}
	}
	return types
}

type systemKey struct{}

// With returns a context in which a guest's calls reach s.
func With(ctx context.Context, s *System) context.Context {
	return context.WithValue(ctx, systemKey{}, s)
}

// call is one call of a host function.
type call struct {
	ctx context.Context
	sys *System
	mod api.Module
	mem memory
	arg []uint64
}

func (c call) u32(i int) uint32 { return uint32(c.arg[i]) }
func (c call) u64(i int) uint64 { return c.arg[i] }

func newCall(ctx context.Context, mod api.Module, stack []uint64) call {
	s, ok := ctx.Value(systemKey{}).(*System)
	if !ok {
		panic("wasip1: a guest was called without a System in its context")
	}
	return call{ctx: ctx, sys: s, mod: mod, mem: memory{mod.Memory()}, arg: stack}
}

func (f function) call(ctx context.Context, mod api.Module, stack []uint64) {
	c := newCall(ctx, mod, stack)
	c.checkAlive()
	stack[0] = uint64(f.guard(c))
}

// guard turns a fault into EFAULT.
func (f function) guard(c call) (e errno) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fault:
			e = efault
		default:
			panic(r)
		}
	}()
	return f.do(c)
}

// exit ends the guest.
func (c call) exit(code uint32) {
	_ = c.mod.CloseWithExitCode(c.ctx, code) // it fails only when the module is closed already
	panic(sys.NewExitError(code))
}

// checkAlive ends the guest when it was killed or its System closed.
func (c call) checkAlive() {
	if c.ctx.Err() != nil || c.sys.ctx.Err() != nil {
		c.exit(sys.ExitCodeContextCanceled)
	}
}
