package lambda

import (
	"errors"
	"os"
	"path/filepath"
)

// Initialization is how Lambda came to start a sandbox: the value of AWS_LAMBDA_INITIALIZATION_TYPE.
type Initialization string

// The ways in which sandboxes start.
const (
	OnDemand               Initialization = "on-demand"
	ProvisionedConcurrency Initialization = "provisioned-concurrency"
	SnapStart              Initialization = "snap-start"
	ManagedInstances       Initialization = "lambda-managed-instances"
)

// Sandbox is what the environment tells of the place where an extension runs.
type Sandbox struct {
	// RuntimeAPI is host:port of Lambda's APIs.
	RuntimeAPI string
	// Extension is the name under which the extension registers: its executable's.
	Extension string
	// Function is the function's name.
	Function string
	// Initialization is how the sandbox started.
	Initialization Initialization
}

// ReadSandbox reads the environment of this process.
func ReadSandbox() (Sandbox, error) {
	s := Sandbox{
		RuntimeAPI:     os.Getenv("AWS_LAMBDA_RUNTIME_API"),
		Extension:      filepath.Base(os.Args[0]),
		Function:       os.Getenv("AWS_LAMBDA_FUNCTION_NAME"),
		Initialization: Initialization(os.Getenv("AWS_LAMBDA_INITIALIZATION_TYPE")),
	}
	if s.RuntimeAPI == "" {
		return s, errors.New("lambda: AWS_LAMBDA_RUNTIME_API is not set: this is an extension, which AWS Lambda starts; put it into a layer's extensions/ directory")
	}
	if s.Initialization == "" {
		s.Initialization = OnDemand
	}
	return s, nil
}

// freezes says whether the sandbox stands still between invocations.
func (s Sandbox) freezes() bool { return s.Initialization != ManagedInstances }
