package pooler

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// encryptedPair is a client's end of a connection over TLS, and what the pooler receives from it with.
func encryptedPair(t *testing.T) (*tls.Conn, *receiver) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	_ = far.SetDeadline(time.Now().Add(time.Minute))
	below, src := newSource(far, far)
	server := tls.Server(below, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	r := new(receiver)
	if err := r.init(server, src); err != nil {
		t.Fatal(err)
	}
	return client, r
}

// Each receive costs a write to the server, and more.
func TestAnEncryptedUploadIsReceivedInLargePieces(t *testing.T) {
	client, r := encryptedPair(t)
	sent := make([]byte, 4<<20)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := client.Write(sent)
		written <- errors.Join(err, client.CloseWrite())
	}()
	var got []byte
	pieces := 0
	for {
		buf, n, err := r.receive()
		if n > 0 {
			got = append(got, buf[:n]...)
			pieces++
		}
		if buf != nil {
			buffers.Put(buf)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes were received, and not those that were sent", len(got))
	}
	if most := len(sent) / (4 << 10); pieces > most {
		t.Errorf("%d bytes came in %d pieces, and no more than %d are allowed", len(got), pieces, most)
	}
}

// What has come is not kept until there is more.
func TestWhatAnEncryptedClientHasSentIsReceivedAtOnce(t *testing.T) {
	client, r := encryptedPair(t)
	for _, size := range []int{1, waitSize - 1, waitSize, waitSize + 1, 2 * waitSize, 16 << 10, bufferSize, bufferSize + waitSize} {
		if _, err := client.Write(bytes.Repeat([]byte{'x'}, size)); err != nil {
			t.Fatal(err)
		}
		for left := size; left > 0; {
			buf, n, err := r.receive()
			if err != nil {
				t.Fatalf("%d of %d bytes have not come: %v", left, size, err)
			}
			left -= n
			buffers.Put(buf)
		}
	}
}
