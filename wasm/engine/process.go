package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"wherry/wasm/meter"
)

// Exit codes of guests that did not end by themselves, as a shell has them for signals.
const (
	codeKilled  = 137
	codeTrapped = 134
)

// Result is how a process ended.
type Result struct {
	Code      int
	OOMKilled bool
	// Trap says what trapped and where; "" for a plain exit.
	Trap string
}

// Process is one run of a module.
type Process struct {
	engine *Engine
	module *Module
	tenant string
	name   string
	within *Limits
	clock  *clock
	share  *share
	memory *memory
	stack  stack
	budget int32           // of the slice that is running; the guest goroutine's
	ctx    context.Context // ends with Kill
	cancel context.CancelFunc
	killed atomic.Bool
}

// Prepare makes a process of a tenant, which keeps to the limits together with others that have them. Its weight against others, when there are not
// enough processors, is in thousandths of a core. It must be run, and holds the module until then. The name shows up in traps.
func (m *Module) Prepare(tenant, name string, within *Limits, weightMillis int64) *Process {
	m.hold()
	p := &Process{engine: m.engine, module: m, tenant: tenant, name: name, within: within,
		clock: newClock(within), share: newShare(weightMillis), memory: newMemory(&within.account, m.image), budget: meter.Slice}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Blocked says that the guest is about to wait in a host function. What it returns says that it goes on, and may wait
// for a processor. Both are called by the guest's goroutine.
func (p *Process) Blocked() (resume func()) {
	p.clock.pause()
	p.engine.shares.leave(p.share)
	return p.resume
}

// resume lets the guest go on.
func (p *Process) resume() {
	p.engine.shares.enter(p.share, p.ctx.Done())
	p.clock.resume()
}

// Hold takes so many bytes of the guest's memory for what the host keeps for it, or says that there is no room; a negative
// number gives them back. It may be called at any time.
func (p *Process) Hold(bytes int64) bool { return p.within.account.take(bytes) }

// Kill ends the guest wherever it is. It may be called at any time.
func (p *Process) Kill() {
	p.killed.Store(true)
	p.cancel()
}

// Started is closed when the guest has its memory, or has ended.
func (p *Process) Started() <-chan struct{} { return p.memory.started }

// Discard ends a process that will not be run.
func (p *Process) Discard() {
	p.cancel()
	p.module.Release()
}

// Run executes the guest and returns when it has ended. with adds to the context that host functions get. Errors mean that it
// could not be started.
func (p *Process) Run(with func(context.Context) context.Context) (Result, error) {
	defer p.Discard()
	defer p.memory.start()
	t, err := p.engine.enter(p.tenant)
	if err != nil {
		return Result{}, err
	}
	defer p.engine.leave(p.tenant)
	ctx := experimental.WithMemoryAllocator(with(p.ctx), p.memory)
	ctx = &processContext{ctx, p}
	p.engine.shares.enter(p.share, p.ctx.Done())
	p.clock.start()
	err = p.call(ctx, t.runtime)
	p.clock.pause()
	p.engine.shares.leave(p.share)
	return p.result(err), nil
}

// call runs the start function and _start.
func (p *Process) call(ctx context.Context, r wazero.Runtime) (err error) {
	defer p.memory.release()
	defer func() {
		// wazero recovers what happens in a guest, but not what happens while it makes the memory.
		if r := recover(); r != nil {
			if err = p.memory.failed(); err == nil {
				err = fmt.Errorf("instantiate: %v", r)
			}
		}
	}()
	if len(p.module.code.ExportedMemories()) == 0 {
		p.memory.start()
	}
	if !p.memory.takeTable(p.module.tableEntries) {
		return errNoMemory
	}
	mod, err := r.InstantiateModule(ctx, p.module.code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	// Closing frees the memory; there is nothing else that could fail.
	defer func() { _ = mod.Close(context.Background()) }()
	start := mod.ExportedFunction("_start")
	p.stack = stackOf(start)
	_, err = start.Call(ctx)
	return err
}

// result says how the guest ended.
func (p *Process) result(err error) Result {
	var exit *sys.ExitError
	switch {
	case p.killed.Load():
		return Result{Code: codeKilled}
	case err == nil:
		return Result{}
	case errors.As(err, &exit) && exit.ExitCode() == 0:
		return Result{}
	case p.memory.starved():
		return Result{Code: codeKilled, OOMKilled: true, Trap: p.memory.failed().Error()}
	case exit != nil:
		return Result{Code: int(exit.ExitCode())}
	default:
		return Result{Code: codeTrapped, Trap: p.describe(err)}
	}
}

// describe makes a message of a trap, without what is said of wazero's own.
func (p *Process) describe(err error) string {
	text := err.Error()
	if i := strings.Index(text, "\n\nGo runtime stack trace:"); i >= 0 {
		p.engine.log.Error("a host function failed", "guest", p.name, "err", text)
		text = text[:i]
	}
	text = strings.TrimPrefix(text, "wasm error: ")
	text = strings.Replace(text, " (recovered by wazero)", "", 1)
	return p.name + ": " + p.module.locate(text)
}

// frame is a line of a stack trace with a function that the module has.
var frame = regexp.MustCompile(`(?m)^(.*)` + string(meter.NameMark) + `(\d+)(\(.*)$`)

// locate says of each function in a stack trace which one it is in the original module, and where its body is.
func (m *Module) locate(trace string) string {
	return frame.ReplaceAllStringFunc(trace, func(line string) string {
		parts := frame.FindStringSubmatch(line)
		index, err := strconv.Atoi(parts[2])
		if err != nil || index < m.imported || index-m.imported >= len(m.offsets) {
			return fmt.Sprintf("%s%s [func %s]", parts[1], parts[3], parts[2])
		}
		return fmt.Sprintf("%s%s [func %d at %#x]", parts[1], parts[3], index, m.offsets[index-m.imported])
	})
}

// processContext carries the process to tick, at the shortest distance.
type processContext struct {
	context.Context
	process *Process
}

type processKey struct{}

func (c *processContext) Value(key any) any {
	if key == (processKey{}) {
		return c.process
	}
	return c.Context.Value(key)
}

var (
	errKilled   = errors.New("killed")
	errNoMemory = errors.New("out of memory")
)

// tick is called by guests whenever a slice is used up; and, with a number that is not negative, before a table grows by
// so many entries.
func tick(ctx context.Context, _ api.Module, stack []uint64) {
	p := ctx.Value(processKey{}).(*Process)
	if n := int32(stack[0]); n >= 0 {
		if !p.memory.takeTable(int64(n)) {
			stack[0] = math.MaxUint32 // more than any table may have: growing fails
		}
		return
	}
	if !p.killed.Load() {
		p.budget = p.yield()
	}
	if p.killed.Load() {
		panic(errKilled)
	}
	if !p.memory.takeStack(p.stack.size()) {
		panic(errNoMemory)
	}
	stack[0] = uint64(p.budget)
}

// yield counts a slice, lets others run, and holds the guest back while it is over its quota. It returns the next slice.
func (p *Process) yield() (budget int32) {
	stop := p.ctx.Done()
	now, used := p.clock.pause()
	p.engine.shares.tick(p.share, used, stop)
	if p.clock.over(now.time) > 0 {
		p.engine.shares.leave(p.share)
		for wait := p.clock.over(time.Now()); wait > 0 && !p.killed.Load(); wait = p.clock.over(time.Now()) {
			sleep(wait, stop)
		}
		p.engine.shares.enter(p.share, stop)
	}
	runtime.Gosched()
	p.clock.resume()
	return p.clock.slice(used, p.budget)
}

// instantiateTick adds the host module that metered code imports.
func instantiateTick(ctx context.Context, r wazero.Runtime) error {
	i32 := []api.ValueType{api.ValueTypeI32}
	_, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(tick), i32, i32).Export(meter.ImportName).Instantiate(ctx)
	return err
}
