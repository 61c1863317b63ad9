package needletail

import (
	"errors"
	"fmt"
	"time"

	pb "needletail/v1"
)

// Code is a status code of the protocol. As an error it is what errors.Is looks for:
//
//	if errors.Is(err, needletail.Overloaded) { … }
type Code int

// The closed list of status codes; proto/README.md says what each asks of a client.
const (
	OK               Code = 0
	InvalidArgument  Code = 1
	NotFound         Code = 2
	Unauthenticated  Code = 3
	PermissionDenied Code = 4
	DeadlineExceeded Code = 5
	Overloaded       Code = 6
	Unavailable      Code = 7
	Internal         Code = 8
	Unimplemented    Code = 9
)

func (code Code) String() string {
	if name, ok := pb.StatusCode_name[int32(code)]; ok {
		return name
	}
	return "INTERNAL"
}

func (code Code) Error() string { return code.String() }

// Cause tells where an error comes from.
type Cause int

const (
	// FromServer is a status that the server sent.
	FromServer Cause = iota
	// FromCaller is a request that was refused before anything was sent.
	FromCaller
	// ConnectionFailed means that no connection could be made.
	ConnectionFailed
	// ConnectionLost means that the connection broke under the call.
	ConnectionLost
	// TimeOver means that there was no answer in the time given.
	TimeOver
	// ProtocolViolation means that what came is not the Needletail protocol.
	ProtocolViolation
)

// Error is a call without an answer. A cancelled context is not one: the call returns context.Canceled then.
type Error struct {
	Code  Code
	Cause Cause
	// Message is one sentence for people.
	Message string
	// RetryAfter is when the server wants to be asked again; 0 where it does not say.
	RetryAfter time.Duration
	// Sent says that the request of a lost connection was sent or being sent, so that the server may have run it.
	Sent bool
	// Detail is what the error is about: a field, a row, a limit; nil where the server does not say.
	Detail *pb.ErrorDetail

	inner error
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// Unwrap is the error of the network or of TLS behind this one.
func (e *Error) Unwrap() error { return e.inner }

// Is tells whether the code is this one.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// CodeOf is the code of an error of this package; OK for nil, Internal for any other error.
func CodeOf(err error) Code {
	var own *Error
	if err == nil {
		return OK
	}
	if errors.As(err, &own) {
		return own.Code
	}
	return Internal
}

func fail(code Code, cause Cause, format string, values ...any) *Error {
	return &Error{Code: code, Cause: cause, Message: fmt.Sprintf(format, values...)}
}

func violation(format string, values ...any) *Error {
	return fail(Internal, ProtocolViolation, format, values...)
}

func statusError(status *pb.Status) *Error {
	code := Code(status.GetCode())
	if _, ok := pb.StatusCode_name[int32(code)]; !ok {
		return fail(Internal, FromServer, "status code %d is unknown to this client: %s", int(code), status.GetMessage())
	}
	err := fail(code, FromServer, "%s", status.GetMessage())
	err.RetryAfter = time.Duration(status.GetRetryAfterUs()) * time.Microsecond
	err.Detail = status.GetDetail()
	return err
}
