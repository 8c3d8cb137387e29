package session

import (
	"testing"

	"pgregory.net/rapid"
)

func TestADigestDoesNotDependOnThePieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 3*digestBlock).Draw(t, "bytes")
		var whole, pieces digest
		whole.write([]byte("left over"))
		whole.reset()
		whole.write(b)
		for rest := b; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces.write(rest[:n])
			rest = rest[n:]
			if asked := pieces.value(); asked != pieces.value() {
				t.Fatal("asking changes it")
			}
		}
		if whole.value() != pieces.value() {
			t.Fatal("the pieces make a difference")
		}
		if len(b) > 0 {
			var other digest
			c := append([]byte(nil), b...)
			c[rapid.IntRange(0, len(c)-1).Draw(t, "at")]++
			other.write(c)
			if whole.value() == other.value() {
				t.Fatal("another byte makes no difference")
			}
		}
	})
}

func BenchmarkRows(b *testing.B) {
	s := New(Full, 0)
	row := append([]byte{'D', 0, 0, 0, 50, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 32}, "a value of some length, 32 bytes"...)
	var buf []byte
	for len(buf) < 8<<10 {
		buf = append(buf, row...)
	}
	s.Client([]byte("Q\x00\x00\x00\x0dselect 1\x00"))
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		s.Server(buf)
	}
}
