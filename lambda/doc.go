// Package lambda runs a service beside a function of AWS Lambda, as an external extension in the function's sandbox.
//
//	err := lambda.Run(ctx, lambda.Config{
//		Open: func(s lambda.Sandbox) (lambda.Service, error) { return openPooler(s) },
//	})
//
// # The life of an extension
//
// Lambda starts the extension's process before the function's. [Run] opens the service and its addresses first and registers
// after that, so that the function, which starts when all extensions have registered, finds them open. It has the
// service warm up while the function initializes, and asks for the next event. From then on it is told of each
// invocation, and at last of the sandbox's end, with a deadline about two seconds ahead, within which the service drains.
//
// On Managed Instances, where a sandbox has many invocations at once, extensions are told of its end only. Under SnapStart a snapshot is
// taken at the end of Init, and connections would not survive in it: the service is asked to warm up by what does survive.
//
// An extension that exits fails the invocation, so Run returns only when it has to: the service could not be opened, it has
// ended by itself, or the sandbox ends. What goes wrong at the Extensions API while the service works is logged and tried
// again.
//
// # Freezes
//
// Between invocations a sandbox does not run at all, for minutes or hours. A connection that a frozen sandbox holds is a
// slot of the server that nobody uses. What becomes of it is [Config.Freeze]; that a sandbox was frozen is known
// afterwards, from its clocks, and the service is told how long it was.
package lambda
