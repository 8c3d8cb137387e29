package fakelambda

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

func (a *API) subscribe(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Types     []string `json:"types"`
		Buffering struct {
			TimeoutMs int `json:"timeoutMs"`
			MaxItems  int `json:"maxItems"`
			MaxBytes  int `json:"maxBytes"`
		} `json:"buffering"`
		Destination struct {
			Protocol string `json:"protocol"`
			URI      string `json:"URI"`
		} `json:"destination"`
	}
	switch err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&body); {
	case err != nil:
		refuse(w, http.StatusBadRequest, "InvalidRequestFormat", err.Error())
		return
	case a.cfg.Telemetry == TelemetryOff:
		refuse(w, http.StatusForbidden, "Telemetry.NotSupported", "Telemetry API is not supported")
		return
	case r.Header.Get("Lambda-Extension-Identifier") != extensionID, len(body.Types) == 0, body.Destination.Protocol != "HTTP",
		!strings.HasPrefix(body.Destination.URI, "http://sandbox.localdomain:"),
		body.Buffering.TimeoutMs < 25, body.Buffering.MaxItems < 1000, body.Buffering.MaxBytes < 262144:
		refuse(w, http.StatusBadRequest, "ValidationError", "the subscription is not one that Lambda accepts")
		return
	}
	a.mu.Lock()
	a.deliverTo = strings.Replace(body.Destination.URI, "sandbox.localdomain", "127.0.0.1", 1)
	a.mu.Unlock()
	if a.moments.reach(r.Context(), ExtensionSubscribes) != nil {
		return
	}
	reply(w, http.StatusOK, "OK")
}

// runtimeDone tells a subscriber that the function has answered. That it cannot be reached is its own affair, as it is at Lambda.
func (a *API) runtimeDone(ctx context.Context, requestID, status string) {
	a.mu.Lock()
	to := a.deliverTo
	a.mu.Unlock()
	if to == "" || a.cfg.Telemetry == TelemetrySilent {
		return
	}
	text, err := json.Marshal([]map[string]any{{
		"time": time.Now().UTC().Format(time.RFC3339Nano), "type": "platform.runtimeDone",
		"record": map[string]any{"requestId": requestID, "status": status},
	}})
	if err != nil {
		return // it is made of strings
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(text))
	if err != nil {
		return
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}
