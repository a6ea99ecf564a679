package engine

import (
	"reflect"

	"github.com/tetratelabs/wazero/api"
)

// stack is the native stack of a call, which wazero grows and does not tell of: its field is looked at. The guest's own
// goroutine, which is the only one that changes it, may ask for its size; between two ticks it can grow unseen, up to
// wazero's ceiling of 50 MB.
type stack struct{ field reflect.Value }

// stackOf finds the stack of a function that is about to be called.
func stackOf(f api.Function) stack {
	v := reflect.ValueOf(f)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if field := v.Elem().FieldByName("stack"); field.Kind() == reflect.Slice {
			return stack{field}
		}
	}
	return stack{}
}

// size returns the size in bytes; 0 if it is not known.
func (s stack) size() int64 {
	if !s.field.IsValid() {
		return 0
	}
	return int64(s.field.Cap()) * int64(s.field.Type().Elem().Size())
}
