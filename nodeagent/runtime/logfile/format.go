package logfile

import (
	"bytes"
	"errors"
	"time"
)

// timeFormat is RFC 3339 with nine digits, always: stamps of one file sort as text. It has this many bytes.
const (
	timeFormat = "2006-01-02T15:04:05.000000000Z07:00"
	timeLength = len("2006-01-02T15:04:05.000000000Z")
)

// maxPart bounds the text of one record; longer lines are written in parts. maxRecord bounds what is read as
// one record: other runtimes may write longer ones.
const (
	maxPart   = 16 << 10
	maxRecord = 1 << 20
)

var errMalformed = errors.New("logfile: not a record")

// record is one line of the file. stamp and text point into the line that was parsed.
type record struct {
	time   time.Time
	stamp  []byte // time, as written
	stream string // "stdout" or "stderr"
	whole  bool   // F: the line ends here; else P
	text   []byte // without newline
}

// appendRecord appends one line of the file, with its newline.
func appendRecord(b []byte, now time.Time, stream string, whole bool, text []byte) []byte {
	b = now.UTC().AppendFormat(b, timeFormat)
	b = append(b, ' ')
	b = append(b, stream...)
	if whole {
		b = append(b, " F "...)
	} else {
		b = append(b, " P "...)
	}
	b = append(b, text...)
	return append(b, '\n')
}

// parse reads one line, without its newline.
func parse(line []byte) (record, error) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return record{}, errMalformed
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return record{}, errMalformed
	}
	r := record{time: t, stamp: stamp}
	name, rest, ok := bytes.Cut(rest, []byte{' '})
	switch {
	case ok && string(name) == "stdout":
		r.stream = "stdout"
	case ok && string(name) == "stderr":
		r.stream = "stderr"
	default:
		return record{}, errMalformed
	}
	tags, text, _ := bytes.Cut(rest, []byte{' '})
	// Tags are separated by colons; the first one says whether the line ends here.
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	switch string(tag) {
	case "F":
		r.whole = true
	case "P":
	default:
		return record{}, errMalformed
	}
	r.text = text
	return r, nil
}
