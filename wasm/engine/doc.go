// Package engine compiles and runs metered modules. wazero lives here, and in the host functions of wasip1, and
// nowhere else.
//
//	engine.go   Engine: its life, and the runtimes of its tenants
//	module.go   Module: compiled code by digest, shared and counted
//	cache.go    the directory with compiled code
//	process.go  Process: one guest, from its first instruction to its end
//	limits.go   what processes may take together of memory and CPU time
//	clock.go    how a guest's CPU time is measured; clock_*.go where systems differ
//	share.go    which guests run when there are more than processors
//	memory.go   linear memory; memory_*.go where systems differ
//	stack.go    the native stack
//	image.go    what the memory of a module begins with, made once and shared; image_*.go
//
// All tenants share the compiled code; each has a runtime of its own, in which its guests are nameless, so that no
// guest can import from another. Modules are compiled in a runtime that runs nothing.
package engine
