package wasip1

import "syscall"

// windowsErrnos are system error codes (winerror.h).
var windowsErrnos = map[syscall.Errno]errno{
	syscall.ERROR_DIR_NOT_EMPTY:      enotempty,
	syscall.ERROR_ALREADY_EXISTS:     eexist,
	syscall.ERROR_FILE_EXISTS:        eexist,
	syscall.ERROR_ACCESS_DENIED:      eacces,
	syscall.ERROR_PRIVILEGE_NOT_HELD: eperm,
	syscall.ERROR_BROKEN_PIPE:        epipe,
	17:                               exdev,        // ERROR_NOT_SAME_DEVICE
	19:                               erofs,        // ERROR_WRITE_PROTECT
	32:                               ebusy,        // ERROR_SHARING_VIOLATION
	39:                               enospc,       // ERROR_HANDLE_DISK_FULL
	112:                              enospc,       // ERROR_DISK_FULL
	123:                              einval,       // ERROR_INVALID_NAME
	206:                              enametoolong, // ERROR_FILENAME_EXCED_RANGE
	267:                              enotdir,      // ERROR_DIRECTORY
	10013:                            eacces,       // WSAEACCES
	10048:                            eaddrinuse,   // WSAEADDRINUSE
	10049:                            eaddrnotavail,
	10051:                            enetunreach,
	10053:                            econnaborted,
	10054:                            econnreset,
	10060:                            etimedout,
	10061:                            econnrefused,
	10065:                            ehostunreach,
}
