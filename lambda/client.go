package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// The versions of Lambda's APIs, as they stand in their paths.
const (
	extensionsVersion = "2020-01-01"
	telemetryVersion  = "2022-07-01"
	telemetrySchema   = "2022-12-13"
)

// The headers of the Extensions API.
const (
	headerName      = "Lambda-Extension-Name"
	headerID        = "Lambda-Extension-Identifier"
	headerErrorType = "Lambda-Extension-Function-Error-Type"
)

// maxAnswer bounds what is read of an answer; the largest is an INVOKE event, of less than a kilobyte.
const maxAnswer = 64 << 10

// Client speaks to the Extensions API for one extension. It comes from NewClient; Register has to be the first call, and
// calls may come from several goroutines after that.
type Client struct {
	addr, name, id string
	http           *http.Client
}

// NewClient returns a Client for the API at addr, host:port as in AWS_LAMBDA_RUNTIME_API, and the extension of this name,
// which has to be that of its executable in /opt/extensions.
func NewClient(addr, name string) *Client {
	// Without the environment's proxy, which is for the world outside, and without any timeout: an answer to Next can take
	// days.
	return &Client{addr: addr, name: name, http: &http.Client{Transport: &http.Transport{Proxy: nil}}}
}

// APIError is an answer of the Extensions API that says no.
type APIError struct {
	Status  int    // of HTTP
	Type    string // such as Extension.InvalidEventType
	Message string
}

func (e *APIError) Error() string {
	return fmt.Sprintf("HTTP status %d, %s: %s", e.Status, e.Type, e.Message)
}

// Function is what an extension is told of the function that it is with.
type Function struct {
	Name    string `json:"functionName"`
	Version string `json:"functionVersion"`
	Handler string `json:"handler"`
}

// Register says which events the extension wants to have. Lambda waits for it before it starts the function.
func (c *Client) Register(ctx context.Context, events ...EventType) (*Function, error) {
	var f Function
	header, err := c.call(ctx, http.MethodPost, extensionsVersion+"/extension/register", headers{headerName: c.name},
		map[string]any{"events": events}, &f)
	if err != nil {
		return nil, fmt.Errorf("lambda: register extension %s at %s: %w", c.name, c.addr, err)
	}
	if c.id = header.Get(headerID); c.id == "" {
		return nil, fmt.Errorf("lambda: register extension %s at %s: the answer has no header %s", c.name, c.addr, headerID)
	}
	return &f, nil
}

// Next waits for an event, however long. Asking for it also says that the extension is done with the one before: when the
// function and all extensions have, the sandbox is frozen.
func (c *Client) Next(ctx context.Context) (*Event, error) {
	var e Event
	if _, err := c.call(ctx, http.MethodGet, extensionsVersion+"/extension/event/next", headers{headerID: c.id}, nil, &e); err != nil {
		return nil, fmt.Errorf("lambda: next event of extension %s: %w", c.name, err)
	}
	return &e, nil
}

// Fault is why an extension cannot go on.
type Fault struct {
	Type string // category and reason with a dot between them, as in Extension.ConfigInvalid
	Err  error  // its text is shown to the function's owner
}

// InitError says that the extension cannot begin. The extension has to be registered, and to exit afterwards.
func (c *Client) InitError(ctx context.Context, f Fault) error { return c.fault(ctx, "init", f) }

// ExitError says that the extension cannot go on. It has to exit afterwards.
func (c *Client) ExitError(ctx context.Context, f Fault) error { return c.fault(ctx, "exit", f) }

func (c *Client) fault(ctx context.Context, phase string, f Fault) error {
	body := struct {
		Message string   `json:"errorMessage"`
		Type    string   `json:"errorType"`
		Stack   []string `json:"stackTrace"`
	}{f.Err.Error(), f.Type, []string{}}
	if _, err := c.call(ctx, http.MethodPost, extensionsVersion+"/extension/"+phase+"/error",
		headers{headerID: c.id, headerErrorType: f.Type}, body, nil); err != nil {
		return fmt.Errorf("lambda: report %s error %s of extension %s: %w", phase, f.Type, c.name, err)
	}
	return nil
}

// Subscribe has Lambda post the platform's telemetry to a URI at which this process serves HTTP; the host has to be
// sandbox.localdomain. Lambda collects records for up to buffering, at least 25 ms, before it posts them.
func (c *Client) Subscribe(ctx context.Context, uri string, buffering time.Duration) error {
	body := map[string]any{
		"schemaVersion": telemetrySchema,
		"types":         []string{"platform"},
		"buffering":     map[string]any{"timeoutMs": buffering.Milliseconds(), "maxBytes": 262144, "maxItems": 1000},
		"destination":   map[string]any{"protocol": "HTTP", "URI": uri},
	}
	if _, err := c.call(ctx, http.MethodPut, telemetryVersion+"/telemetry", headers{headerID: c.id}, body, nil); err != nil {
		return fmt.Errorf("lambda: subscribe to telemetry at %s: %w", c.addr, err)
	}
	return nil
}

type headers map[string]string

// call makes a request and reads the answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, h headers, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+"/"+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range h {
		req.Header.Set(k, v)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, apiError(resp.StatusCode, text)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
	}
	return resp.Header, nil
}

// apiError reads the reason of a refusal, if there is one in the answer.
func apiError(status int, text []byte) error {
	var body struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal(text, &body); err != nil || body.Type == "" {
		body.Type, body.Message = "no reason", http.StatusText(status)
	}
	return &APIError{Status: status, Type: body.Type, Message: body.Message}
}
