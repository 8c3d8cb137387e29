//go:build !unix

package topology

import "net"

// watchIdle cannot be done here: the end of an idle connection is found out with the next question.
func watchIdle(net.Conn) (news <-chan struct{}, stop func()) { return nil, func() {} }
