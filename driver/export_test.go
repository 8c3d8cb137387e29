package driver

import "testing"

// ForgetWithoutReplay has the tests that follow find WithoutReplay unused.
func ForgetWithoutReplay(t *testing.T) { forgetWithoutReplay(t) }
