package lambda

import (
	"errors"
	"net/http"
	"time"
)

// EventType is what an [Event] tells of.
type EventType string

// The types of events.
const (
	Invoke   EventType = "INVOKE"   // an invocation of the function begins
	Shutdown EventType = "SHUTDOWN" // the sandbox ends
)

// Reason is why a sandbox ends.
type Reason string

// The reasons. Lambda writes them in lower or upper case; an [Event] has them as they came.
const (
	Spindown Reason = "SPINDOWN" // it was idle for too long, or is replaced
	Timeout  Reason = "TIMEOUT"  // the function took too long
	Failure  Reason = "FAILURE"  // a process of the sandbox has ended
)

// Event is what an extension is told.
type Event struct {
	Type       EventType `json:"eventType"`
	DeadlineMs int64     `json:"deadlineMs"` // since 1970
	RequestID  string    `json:"requestId"`  // of an invocation
	Function   string    `json:"invokedFunctionArn"`
	Reason     Reason    `json:"shutdownReason"`
}

// Deadline is when the invocation, or the sandbox, is ended by force. It is zero if the event has none.
func (e *Event) Deadline() time.Time {
	if e.DeadlineMs == 0 {
		return time.Time{}
	}
	return time.UnixMilli(e.DeadlineMs)
}

// refusesInvoke says that the sandbox is of a kind whose extensions are not told of invocations.
func refusesInvoke(err error) bool {
	var api *APIError
	return errors.As(err, &api) && api.Status == http.StatusForbidden && api.Type == "Extension.InvalidEventType"
}
