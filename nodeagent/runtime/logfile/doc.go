// Package logfile writes and reads the output of containers, in the format that the CRI
// gives to log files, so that every collector of Kubernetes logs can read them too:
//
//	2026-11-21T10:00:00.000000000Z stdout F a whole line, or the last part of a long one
//	2026-11-21T10:00:00.000000001Z stderr P a part of a line that goes on in the next record of stderr
//
// One file per run of a container. When it is full it is renamed to <path>.1, the next time to <path>.2,
// and so on: numbers only rise, the file without a number is the one that is being written, and the lowest
// numbers are removed when there are too many. A name therefore never changes its meaning twice, and a reader
// can follow from file to file.
package logfile
