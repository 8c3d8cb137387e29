package session

import "hash/maphash"

// digestBlock is how many bytes are hashed at once. It is what a session keeps for its digest, in bytes; larger blocks are
// hashed faster.
const digestBlock = 512

// digest is a running hash of a stream. It does not depend on how the stream came in pieces. It tells streams of the same
// length apart.
type digest struct {
	sum  uint64
	n    int
	rest [digestBlock]byte // the first n bytes of a block
}

// write adds to the stream.
func (d *digest) write(b []byte) {
	if d.n > 0 {
		k := copy(d.rest[d.n:], b)
		b = b[k:]
		if d.n += k; d.n < digestBlock {
			return
		}
		d.mix(d.rest[:])
		d.n = 0
	}
	for ; len(b) >= digestBlock; b = b[digestBlock:] {
		d.mix(b[:digestBlock])
	}
	d.n = copy(d.rest[:], b)
}

func (d *digest) mix(block []byte) {
	d.sum = d.sum*0x9E3779B97F4A7C15 + maphash.Bytes(seed, block)
}

// value is the hash of all that was written.
func (d *digest) value() uint64 {
	end := *d
	end.mix(d.rest[:d.n])
	return end.sum
}

func (d *digest) reset() { d.sum, d.n = 0, 0 }
