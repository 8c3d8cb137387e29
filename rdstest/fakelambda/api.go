package fakelambda

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Kind is how sandboxes are run.
type Kind string

// The kinds of sandboxes, as AWS_LAMBDA_INITIALIZATION_TYPE has them.
const (
	OnDemand         Kind = "on-demand"
	SnapStart        Kind = "snap-start"
	ManagedInstances Kind = "lambda-managed-instances"
)

// Telemetry says whether the Telemetry API works.
type Telemetry string

// Whether the Telemetry API works.
const (
	TelemetryOn     Telemetry = ""
	TelemetryOff    Telemetry = "off"    // a subscription is refused
	TelemetrySilent Telemetry = "silent" // it is accepted, and nothing is delivered
)

// APIConfig says what an [API] is like. Its zero value is a sandbox of the common kind.
type APIConfig struct {
	Kind      Kind
	Telemetry Telemetry
}

// API is a fake of what the processes of a sandbox speak to. It is for one sandbox, with one extension at most.
type API struct {
	cfg      APIConfig
	listener net.Listener
	server   *http.Server
	ended    chan struct{} // closed when the server has ended
	moments  *moments

	invocations chan *Invocation // taken by the runtime
	mu          sync.Mutex       // guards what follows
	events      chan event       // taken by the extension; another one for each extension
	running     map[string]*Invocation
	registered  []string // events that the extension wants
	deliverTo   string   // where telemetry goes
	faults      []Fault
	requests    int
}

// event is what an extension is told.
type event struct {
	Type       string `json:"eventType"`
	DeadlineMs int64  `json:"deadlineMs"`
	RequestID  string `json:"requestId,omitempty"`
	ARN        string `json:"invokedFunctionArn,omitempty"`
	Reason     string `json:"shutdownReason,omitempty"`
}

// Fault is an error that a process has reported about itself.
type Fault struct {
	Moment  Moment
	Type    string // of the header
	Message string
}

// arn is the function's.
const arn = "arn:aws:lambda:eu-west-1:123456789012:function:fake"

// NewAPI serves at a port of the loopback address until Close.
func NewAPI(cfg APIConfig) (*API, error) {
	if cfg.Kind == "" {
		cfg.Kind = OnDemand
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fakelambda: %w", err)
	}
	a := &API{
		cfg: cfg, listener: ln, ended: make(chan struct{}), moments: newMoments(), invocations: make(chan *Invocation),
		events: make(chan event), running: make(map[string]*Invocation),
	}
	a.server = &http.Server{Handler: a.routes(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(a.ended)
		_ = a.server.Serve(ln) // it ends with Close
	}()
	return a, nil
}

// Addr is the value of AWS_LAMBDA_RUNTIME_API.
func (a *API) Addr() string { return a.listener.Addr().String() }

// Close ends the server; requests that wait are cut off.
func (a *API) Close() error {
	err := a.server.Close()
	<-a.ended
	return err
}

// Registered are the events that the extension has registered for; nil if it has not registered.
func (a *API) Registered() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.registered
}

// Faults are the errors that processes have reported about themselves.
func (a *API) Faults() []Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Fault(nil), a.faults...)
}

// reset forgets the processes of before.
func (a *API) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = make(chan event)
	a.registered, a.deliverTo = nil, ""
}

func (a *API) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /2020-01-01/extension/register", a.register)
	m.HandleFunc("GET /2020-01-01/extension/event/next", a.nextEvent)
	m.HandleFunc("POST /2020-01-01/extension/init/error", a.fault(ExtensionInitError, "Lambda-Extension-Function-Error-Type"))
	m.HandleFunc("POST /2020-01-01/extension/exit/error", a.fault(ExtensionExitError, "Lambda-Extension-Function-Error-Type"))
	m.HandleFunc("PUT /2022-07-01/telemetry", a.subscribe)
	m.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.nextInvocation)
	m.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", a.answer(RuntimeAnswers))
	m.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", a.answer(RuntimeFails))
	m.HandleFunc("POST /2018-06-01/runtime/init/error", a.fault(RuntimeInitError, "Lambda-Runtime-Function-Error-Type"))
	return m
}

// The identifiers of the extension, and of the one that a runtime can have inside itself.
const (
	extensionID = "5f2f2c1b-0000-4000-8000-0000fa1e1ead"
	internalID  = "5f2f2c1b-0000-4000-8000-000000000001"
)

// maxBody is Lambda's bound for payloads.
const maxBody = 6 << 20

func (a *API) register(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Events []string `json:"events"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestFormat", err.Error())
		return
	}
	// aws-lambda-go registers the function itself for no event at all, to be sent SIGTERM.
	internal := len(body.Events) == 0
	if !internal && a.moments.reach(r.Context(), ExtensionRegisters) != nil {
		return
	}
	for _, e := range body.Events {
		switch {
		case e != "INVOKE" && e != "SHUTDOWN", e == "INVOKE" && a.cfg.Kind == ManagedInstances:
			refuse(w, http.StatusForbidden, "Extension.InvalidEventType", e+" is not supported")
			return
		}
	}
	id := internalID
	if !internal {
		id = extensionID
		a.mu.Lock()
		a.registered = body.Events
		a.mu.Unlock()
		if a.moments.reach(r.Context(), ExtensionRegistered) != nil {
			return
		}
	}
	w.Header().Set("Lambda-Extension-Identifier", id)
	reply(w, http.StatusOK, map[string]string{"functionName": "fake", "functionVersion": "$LATEST", "handler": "app.handler"})
}

func (a *API) nextEvent(w http.ResponseWriter, r *http.Request) {
	switch r.Header.Get("Lambda-Extension-Identifier") {
	case internalID: // it is told of nothing
		<-r.Context().Done()
		return
	case extensionID:
	default:
		refuse(w, http.StatusForbidden, "Extension.UnknownExtensionIdentifier", "the extension has not registered")
		return
	}
	a.mu.Lock()
	events := a.events
	a.mu.Unlock()
	if a.moments.reach(r.Context(), ExtensionNext) != nil {
		return
	}
	select {
	case e := <-events:
		reply(w, http.StatusOK, e)
	case <-r.Context().Done():
	}
}

func (a *API) fault(what Moment, header string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Message string `json:"errorMessage"`
		}
		if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&body); err != nil {
			refuse(w, http.StatusBadRequest, "InvalidRequestFormat", err.Error())
			return
		}
		a.mu.Lock()
		a.faults = append(a.faults, Fault{Moment: what, Type: r.Header.Get(header), Message: body.Message})
		a.mu.Unlock()
		if a.moments.reach(r.Context(), what) != nil {
			return
		}
		reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
	}
}

func (a *API) nextInvocation(w http.ResponseWriter, r *http.Request) {
	if a.moments.reach(r.Context(), RuntimeNext) != nil {
		return
	}
	select {
	case inv := <-a.invocations:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", inv.ID)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.Deadline.UnixMilli(), 10))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", arn)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(inv.payload) // a runtime that is gone is noticed otherwise
	case <-r.Context().Done():
	}
}

func (a *API) answer(what Moment) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if a.moments.reach(r.Context(), what) != nil {
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			refuse(w, http.StatusBadRequest, "InvalidRequestFormat", err.Error())
			return
		}
		id := r.PathValue("id")
		a.mu.Lock()
		inv := a.running[id]
		delete(a.running, id)
		a.mu.Unlock()
		if inv == nil {
			refuse(w, http.StatusBadRequest, "InvalidRequestID", id)
			return
		}
		reply(w, http.StatusAccepted, map[string]string{"status": "OK"})
		inv.answered <- Answer{Payload: body, Failed: what == RuntimeFails}
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who is gone is noticed otherwise
}

func refuse(w http.ResponseWriter, status int, kind, message string) {
	reply(w, status, map[string]string{"errorType": kind, "errorMessage": message})
}
