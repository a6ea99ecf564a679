// Package boltstore is a store in one bbolt file.
//
// # The file
//
//	meta
//	    format   -> uint32: how the file is to be read; this package reads format 1
//	    id       -> 16 random bytes, the same for the life of the file
//	    counters -> newest, floor, swept, ceiling (uint64 each)
//	gaps
//	    first revision (uint64) -> last revision (uint64), both lost
//	records
//	    revision (uint64), ordinal (uint16) -> what one commit did to one key, see record
//
// All numbers are big endian. A record is written once and never changed; it is removed
// when it has been replaced or deleted at or before floor. So the records are the values
// and the history at once, and each value is in the file once.
//
// # Writing
//
// One goroutine writes. It takes the commits that are waiting, judges their conditions
// on the index in memory, one after the other, each seeing those before it, and makes
// all that hold one bbolt transaction. Only when that is durable do readers and watchers
// see them, and are the commits answered: the refused ones too, for what refused them
// may be in the same transaction.
//
// Lazy commits that come alone are shown and answered at once. They stay in memory
// until the next transaction, which writes them first, and is at most Options.LazyDelay
// away.
//
// A transaction that fails, on a full disk for example, fails its commits and nothing
// else: their revisions are given to the next ones, lazy commits wait on, readers go on.
// Only if it is not known whether the disk has it are all later commits refused, until
// the file is opened again.
//
// # Opening
//
// A new file gets its name only when it is complete. Of a file that cannot be read, the
// state before its last transaction is tried, which bbolt keeps whole: on a copy, and
// the damaged file is kept beside it. Further back lie only snapshots, which somebody has to
// restore.
//
// # Counters
//
// swept <= floor <= newest <= ceiling.
//
// No history is known before floor. Up to swept, what floor made superfluous has been
// removed; the rest of it is removed by later transactions, a few records each, because
// bbolt writes its whole list of free pages in every transaction.
//
// No revision above ceiling has ever been given away. A store that was closed has
// ceiling = newest. If it was not closed, the revisions from newest+1 to ceiling may
// have been shown, for lazy commits that are lost: they become a gap, at which List and
// Watch answer ErrCompacted, and the store goes on behind it.
package boltstore
