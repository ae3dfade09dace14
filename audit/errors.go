package audit

import "errors"

var (
	// ErrPoisoned is returned by Append once a write or a sync has failed, or the log's file was changed by somebody
	// else: what the disk holds is no longer known. Only a new process, which recovers the log, may write again.
	ErrPoisoned = errors.New("the audit log cannot be written any more")
	// ErrFull is returned by Append while there is no space for the next segment. It goes away when there is.
	ErrFull = errors.New("no space for the audit log")
	// ErrOverloaded is returned by Append when the disk is so slow that too many records wait.
	ErrOverloaded = errors.New("too many records wait for the disk")
	// ErrNotDurable is returned by Append when the caller's time ran out before the record was durable. It may still become so.
	ErrNotDurable = errors.New("the record was not durable in time")
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("the audit log is closed")
	// ErrInUse is returned by Open when another process writes to the directory.
	ErrInUse = errors.New("another process writes this audit log")
	// ErrCorrupt is returned by Open when the log is damaged in a way that a crash does not explain.
	ErrCorrupt = errors.New("the audit log is damaged")
	// ErrCopy is returned by Append when a required copy did not take the record, though the log itself did.
	ErrCopy = errors.New("a required copy of the audit log failed")
)
