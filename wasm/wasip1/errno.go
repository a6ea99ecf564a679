package wasip1

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// errno is the result of a function (WASI preview 1, type errno).
type errno uint16

const (
	success       errno = 0
	eacces        errno = 2
	eaddrinuse    errno = 3
	eaddrnotavail errno = 4
	eafnosupport  errno = 5
	eagain        errno = 6
	ealready      errno = 7
	ebadf         errno = 8
	ebusy         errno = 10
	ecanceled     errno = 11
	econnaborted  errno = 13
	econnrefused  errno = 14
	econnreset    errno = 15
	edestaddrreq  errno = 17
	edquot        errno = 19
	eexist        errno = 20
	efault        errno = 21
	efbig         errno = 22
	ehostunreach  errno = 23
	eilseq        errno = 25
	einprogress   errno = 26
	eintr         errno = 27
	einval        errno = 28
	eio           errno = 29
	eisconn       errno = 30
	eisdir        errno = 31
	eloop         errno = 32
	emfile        errno = 33
	emlink        errno = 34
	emsgsize      errno = 35
	enametoolong  errno = 37
	enetunreach   errno = 40
	enfile        errno = 41
	enobufs       errno = 42
	enodev        errno = 43
	enoent        errno = 44
	enomem        errno = 48
	enoprotoopt   errno = 50
	enospc        errno = 51
	enosys        errno = 52
	enotconn      errno = 53
	enotdir       errno = 54
	enotempty     errno = 55
	enotsock      errno = 57
	enotsup       errno = 58
	enxio         errno = 60
	eoverflow     errno = 61
	eperm         errno = 63
	epipe         errno = 64
	eprototype    errno = 67
	erofs         errno = 69
	espipe        errno = 70
	etimedout     errno = 73
	etxtbsy       errno = 74
	exdev         errno = 75
	enotcapable   errno = 76

	// Results of sock_getaddrinfo, continued by WasmEdge.
	aiAgain    errno = 78
	aiFail     errno = 80
	aiFamily   errno = 81
	aiNoName   errno = 84
	aiService  errno = 85
	aiSockType errno = 86
)

// systemErrnos translates what the system says. Windows has these names too, for errors that package syscall
// makes up; its own are in windowsErrnos.
var systemErrnos = map[syscall.Errno]errno{
	syscall.EACCES:        eacces,
	syscall.EADDRINUSE:    eaddrinuse,
	syscall.EADDRNOTAVAIL: eaddrnotavail,
	syscall.EAFNOSUPPORT:  eafnosupport,
	syscall.EAGAIN:        eagain,
	syscall.EALREADY:      ealready,
	syscall.EBADF:         ebadf,
	syscall.EBUSY:         ebusy,
	syscall.ECANCELED:     ecanceled,
	syscall.ECONNABORTED:  econnaborted,
	syscall.ECONNREFUSED:  econnrefused,
	syscall.ECONNRESET:    econnreset,
	syscall.EDESTADDRREQ:  edestaddrreq,
	syscall.EDQUOT:        edquot,
	syscall.EEXIST:        eexist,
	syscall.EFBIG:         efbig,
	syscall.EHOSTUNREACH:  ehostunreach,
	syscall.EILSEQ:        eilseq,
	syscall.EINTR:         eintr,
	syscall.EINVAL:        einval,
	syscall.EIO:           eio,
	syscall.EISCONN:       eisconn,
	syscall.EISDIR:        eisdir,
	syscall.ELOOP:         eloop,
	syscall.EMFILE:        emfile,
	syscall.EMLINK:        emlink,
	syscall.EMSGSIZE:      emsgsize,
	syscall.ENAMETOOLONG:  enametoolong,
	syscall.ENETUNREACH:   enetunreach,
	syscall.ENFILE:        enfile,
	syscall.ENOBUFS:       enobufs,
	syscall.ENODEV:        enodev,
	syscall.ENOENT:        enoent,
	syscall.ENOMEM:        enomem,
	syscall.ENOSPC:        enospc,
	syscall.ENOSYS:        enosys,
	syscall.ENOTCONN:      enotconn,
	syscall.ENOTDIR:       enotdir,
	syscall.ENOTEMPTY:     enotempty,
	syscall.ENOTSUP:       enotsup,
	syscall.ENXIO:         enxio,
	syscall.EPERM:         eperm,
	syscall.EPIPE:         epipe,
	syscall.EROFS:         erofs,
	syscall.ESPIPE:        espipe,
	syscall.ETIMEDOUT:     etimedout,
	syscall.ETXTBSY:       etxtbsy,
	syscall.EXDEV:         exdev,
}

// knownErrnos translates what has no number, most specific first.
var knownErrnos = []struct {
	err error
	is  errno
}{
	{fs.ErrNotExist, enoent},
	{fs.ErrExist, eexist},
	{fs.ErrPermission, eacces},
	{os.ErrDeadlineExceeded, etimedout},
	{context.DeadlineExceeded, etimedout},
	{context.Canceled, ecanceled},
	{net.ErrClosed, econnaborted},
	{io.ErrClosedPipe, epipe},
	{fs.ErrInvalid, einval},
	{errors.ErrUnsupported, enotsup},
}

// errnoOf translates an error of the operating system or of a Network.
func errnoOf(err error) errno {
	if err == nil {
		return success
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		if e, ok := systemErrnos[number]; ok {
			return e
		}
		if e, ok := windowsErrnos[number]; ok {
			return e
		}
	}
	for _, known := range knownErrnos {
		if errors.Is(err, known.err) {
			return known.is
		}
	}
	if escapes(err) {
		return enotcapable
	}
	return eio
}

// escapes tells that a path left its os.Root. The error that says so has no exported name.
func escapes(err error) bool {
	return strings.HasSuffix(err.Error(), "path escapes from parent")
}

// Error makes an errno an error of Close.
func (e errno) Error() string { return "wasip1: errno " + strconv.Itoa(int(e)) }
