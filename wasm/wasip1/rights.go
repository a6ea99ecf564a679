package wasip1

// rights are what a descriptor may be used for (WASI preview 1, type rights). They only ever shrink.
type rights uint64

const (
	rightDatasync rights = 1 << iota
	rightRead
	rightSeek
	rightSetFlags
	rightSync
	rightTell
	rightWrite
	rightAdvise
	rightAllocate
	rightCreateDirectory
	rightCreateFile
	rightLinkSource
	rightLinkTarget
	rightOpen
	rightReaddir
	rightReadlink
	rightRenameSource
	rightRenameTarget
	rightPathFilestatGet
	rightPathFilestatSetSize
	rightPathFilestatSetTimes
	rightFilestatGet
	rightFilestatSetSize
	rightFilestatSetTimes
	rightSymlink
	rightRemoveDirectory
	rightUnlinkFile
	rightPoll
	rightShutdown
	rightAccept
)

const (
	dirRights = rightSetFlags | rightSync | rightDatasync | rightAdvise | rightCreateDirectory | rightCreateFile |
		rightLinkSource | rightLinkTarget | rightOpen | rightReaddir | rightReadlink | rightRenameSource |
		rightRenameTarget | rightPathFilestatGet | rightPathFilestatSetSize | rightPathFilestatSetTimes |
		rightFilestatGet | rightFilestatSetTimes | rightSymlink | rightRemoveDirectory | rightUnlinkFile | rightPoll
	fileRights = rightDatasync | rightRead | rightSeek | rightSetFlags | rightSync | rightTell | rightWrite |
		rightAdvise | rightAllocate | rightFilestatGet | rightFilestatSetSize | rightFilestatSetTimes | rightPoll
	streamRights   = rightRead | rightWrite | rightSetFlags | rightFilestatGet | rightPoll
	connRights     = streamRights | rightShutdown
	listenerRights = rightAccept | rightRead | rightSetFlags | rightFilestatGet | rightPoll
	socketRights   = connRights | listenerRights
)

// fdflags are the flags of a descriptor (WASI preview 1, type fdflags).
type fdflags uint16

const (
	flagAppend fdflags = 1 << iota
	flagDsync
	flagNonblock
	flagRsync
	flagSync

	flagsSync = flagDsync | flagRsync | flagSync
	flagsAll  = flagAppend | flagNonblock | flagsSync
)

// filetype is what a descriptor or a path is (WASI preview 1, type filetype).
type filetype uint8

const (
	typeUnknown filetype = iota
	typeBlockDevice
	typeCharacterDevice
	typeDirectory
	typeRegular
	typeDatagram
	typeStream
	typeSymlink
)
