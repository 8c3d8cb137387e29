package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Func is a Provider that is a function. It is called at each login: what is slow is better kept in a [Cache].
type Func func(ctx context.Context, t Target, refused []Refusal) (*Credential, error)

// Credential implements [Provider].
func (f Func) Credential(ctx context.Context, t Target, refused []Refusal) (*Credential, error) {
	return f(ctx, t, refused)
}

// Static is a Provider with one credential for every target.
func Static(c Credential) Provider { return static{&c} }

type static struct{ credential *Credential }

func (s static) Credential(_ context.Context, t Target, refused []Refusal) (*Credential, error) {
	if Refused(refused, s.credential) {
		return nil, fmt.Errorf("credentials: %s: the password was refused, and it is the only one: %w", t, ErrExhausted)
	}
	return s.credential, nil
}

// Chain asks providers in their order, and gives what the first one has that has any. A provider whose credentials were all
// refused, or that fails, is passed over; if all are, their errors are joined.
func Chain(providers ...Provider) Provider { return chain(providers) }

type chain []Provider

var _ io.Closer = chain(nil)

func (c chain) Credential(ctx context.Context, t Target, refused []Refusal) (*Credential, error) {
	var errs []error
	for _, p := range c {
		got, err := p.Credential(ctx, t, refused)
		switch {
		case err != nil:
			errs = append(errs, err)
		case Refused(refused, got):
			errs = append(errs, fmt.Errorf("credentials: %s: a provider gave again what was refused: %w", t, ErrExhausted))
		default:
			return got, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("credentials: %s: the chain is empty: %w", t, ErrExhausted)
	}
	return nil, errors.Join(errs...)
}

// Close closes the providers that can be closed.
func (c chain) Close() error {
	var errs []error
	for _, p := range c {
		errs = append(errs, Close(p))
	}
	return errors.Join(errs...)
}

// Close ends what a provider does in the background, if it does anything.
func Close(p Provider) error {
	if closer, ok := p.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
