package lambdadb

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// Start serves invocations with a handler of any kind that aws-lambda-go takes, such as
// func(ctx context.Context, in In) (Out, error). In Lambda it does not return, and closes the database when the sandbox
// ends. Elsewhere it answers the event that it reads from standard input, and closes the database then.
func (db *DB) Start(handler any) error {
	h := bounded{handler: lambda.NewHandler(handler), margin: db.margin}
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		err := answer(h, os.Stdin, os.Stdout)
		if closing := db.Close(); err == nil && closing != nil {
			err = fmt.Errorf("lambdadb: %w", closing)
		}
		return err
	}
	lambda.StartWithOptions(h, lambda.WithEnableSIGTERM(func() {
		_ = db.Close() // the sandbox ends; there is nobody who could do something about it
	}))
	return nil
}

// answer is an invocation without Lambda.
func answer(h lambda.Handler, in io.Reader, out io.Writer) error {
	event, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("lambdadb: read the event from standard input: %w", err)
	}
	reply, err := h.Invoke(context.Background(), event)
	if err != nil {
		return err // the handler's own
	}
	if _, err := out.Write(append(reply, '\n')); err != nil {
		return fmt.Errorf("lambdadb: write the answer: %w", err)
	}
	return nil
}

// bounded is a handler whose context ends before the invocation does.
type bounded struct {
	handler lambda.Handler
	margin  time.Duration
}

// Invoke implements lambda.Handler.
func (b bounded) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		margin := min(b.margin, time.Until(deadline)/10)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	return b.handler.Invoke(ctx, event)
}
