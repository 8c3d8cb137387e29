// Command mutations takes the driver's precautions out, one at a time, from a copy of the tree, and tortures what is left until
// the torture notices.
//
//	go run ./internal/torture/mutations -table docs/continuity-mutations.md
//
// A precaution whose absence is not noticed is either none or not tested; the exit status is 1 then. It is so too if the same
// torture fails with nothing taken out. A patch that does not fit the tree any more is an error.
package main
