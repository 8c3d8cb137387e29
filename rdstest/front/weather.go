package front

import "time"

// Silence is how a network is silent: nothing is closed, and nothing comes.
type Silence int

const (
	// Swallow lets the bytes in flight vanish in both directions. New connections are accepted, by the kernel, and never
	// answered.
	Swallow Silence = iota + 1

	// Hold keeps the bytes back, by reading no further once its buffers are full, and lets them arrive after Pass, as
	// TCP's retransmissions would. So it is with what a new connection says.
	Hold

	// Backlog is Swallow, and new connections hang in connect: their first packet is dropped. Where the kernel cannot be
	// told to (anything but Linux, and Unix sockets) it is Swallow alone.
	Backlog

	// Unplug drops the packets of all connections in the kernel, so that they are not even acknowledged: keepalives and
	// TCP_USER_TIMEOUT notice, retransmissions arrive after Pass when their timers say so, and new connections hang in
	// connect. Where the kernel cannot be told to (anything but Linux, and Unix sockets) it is Hold.
	Unplug
)

// String is the constant's name.
func (s Silence) String() string {
	switch s {
	case Swallow:
		return "Swallow"
	case Hold:
		return "Hold"
	case Backlog:
		return "Backlog"
	case Unplug:
		return "Unplug"
	}
	return "no silence"
}

// weather is what the network does to bytes, in all connections. It is immutable: a change is a new one.
type weather struct {
	silence Silence       // 0: bytes pass
	over    chan struct{} // closed when another weather has come
}

func newWeather(s Silence) *weather {
	return &weather{silence: s, over: make(chan struct{})}
}

// swallows says that bytes vanish.
func (w *weather) swallows() bool { return w.silence == Swallow || w.silence == Backlog }

// holds says that bytes wait.
func (w *weather) holds() bool { return w.silence == Hold || w.silence == Unplug }

// set changes the weather. f.op is held.
func (f *Front) set(s Silence) {
	old := f.weather.Swap(newWeather(s))
	close(old.over)
}

// Pass makes the network normal again: it ends Refuse, Silence and Delay, and takes back the cuts that have not fired.
// Connections that lost bytes meanwhile are reset, because nothing that follows would make sense to their other end.
func (f *Front) Pass() {
	f.op.Lock()
	defer f.op.Unlock()
	f.cuts.clear()
	f.delay.Store(0)
	f.set(0)
	for _, l := range f.open() {
		l.clear()
	}
	f.door.plug(false)
	f.door.start()
	f.log.Debug("front: pass", "addr", f.door.addr)
}

// Refuse closes the listener, so that the kernel refuses new connections. Open ones go on as they did.
func (f *Front) Refuse() {
	f.op.Lock()
	defer f.op.Unlock()
	if err := f.door.stop(); err != nil {
		f.log.Debug("front: close the listener", "addr", f.door.addr, "err", err)
	}
	f.log.Debug("front: refuse", "addr", f.door.addr)
}

// Reset sends a TCP reset to both ends of all open connections. New ones are treated as before. (Unix sockets have no
// reset: their ends see a close.)
func (f *Front) Reset() {
	f.op.Lock()
	defer f.op.Unlock()
	for _, l := range f.open() {
		l.abort()
	}
	f.log.Debug("front: reset", "addr", f.door.addr)
}

// Silence partitions the network until Pass. When it returns, no byte passes any more but those that a kernel had taken
// already. It decides about new connections too, and so ends Refuse.
func (f *Front) Silence(s Silence) {
	f.op.Lock()
	defer f.op.Unlock()
	f.set(s)
	f.door.plug(s == Backlog || s == Unplug)
	f.door.start()
	for _, l := range f.open() {
		l.plug(s == Unplug)
		l.interrupt()
	}
	f.log.Debug("front: silence", "addr", f.door.addr, "how", s)
}

// Forget lets the connections that are open vanish, as a firewall or a NAT gateway does that has lost track of them: until Pass they
// are as in the given silence, [Swallow] or [Unplug], and neither end is told. New connections are not affected.
func (f *Front) Forget(s Silence) {
	f.op.Lock()
	defer f.op.Unlock()
	for _, l := range f.open() {
		l.vanish(s == Unplug)
	}
	f.log.Debug("front: forget", "addr", f.door.addr, "how", s)
}

// Delay lets every byte arrive d after it was sent, in each direction, as a longer way would: the throughput stays. A
// connection that is being opened is delayed from its first byte on, but not in connect. 0 ends the delay for what is sent
// from now on.
func (f *Front) Delay(d time.Duration) {
	f.op.Lock()
	defer f.op.Unlock()
	f.delay.Store(int64(max(d, 0)))
	f.log.Debug("front: delay", "addr", f.door.addr, "d", d)
}
