// Package fakelambda runs a Lambda function and an extension as AWS Lambda would, on this machine: real processes around a
// fake of the Runtime, Extensions and Telemetry APIs.
//
//	func TestAFreezeIsNotSeen(t *testing.T) {
//		s := fakelambda.Start(t, fakelambda.Config{
//			Extension: []string{"/path/to/extensions/fairlead"},
//			Function:  []string{"python3", "bootstrap.py", "app.handler"},
//		})
//		first, err := s.Invoke(t.Context(), []byte(`{}`)) // the sandbox starts with it
//		...
//		err = s.Freeze(t.Context())
//		// what happens in the world meanwhile
//		err = s.Thaw()
//		second, err := s.Invoke(t.Context(), []byte(`{}`))
//	}
//
// A [Sandbox] is one place for one set of processes: it starts them, invokes the function, freezes them, takes them down after a
// timeout or a crash and starts new ones with the next invocation, and ends them with a reason. An [API] is what they
// speak to; it also serves without any process, for tests of clients of it.
//
// # Sync points
//
// [API.Await] waits until a process has come to a [Moment] for the nth time, and [API.Hold] keeps the next ones waiting there, so
// that a test says what happens in which order and never sleeps.
//
// # What is like Lambda
//
// The function starts when the extension has registered. An invocation is over when the function has answered and the
// extension has asked for the next event; only then is the next one delivered, except with [ManagedInstances], where
// there are many at once and the extension is told of none. A function that takes too long, or a process that ends, costs the
// sandbox: the extension gets SHUTDOWN with TIMEOUT or FAILURE, and two seconds; the next invocation has new processes.
//
// # What is not
//
// A freeze stops the processes, but their clocks go on. Nothing is throttled, and memory is not bounded.
package fakelambda
