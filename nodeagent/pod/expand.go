package pod

import "strings"

// expand replaces $(NAME) by the variable's value. $$ is a dollar sign; a name that is not known stays as it is written.
func expand(text string, value func(name string) (string, bool)) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if rest, ok := strings.CutPrefix(after, "$"); ok {
			b.WriteByte('$')
			text = rest
			continue
		}
		name, rest, closed := strings.Cut(after, ")")
		if name, ok := strings.CutPrefix(name, "("); ok && closed {
			if v, known := value(name); known {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			text = rest
			continue
		}
		b.WriteByte('$')
		text = after
	}
}
