// Command layer builds the Lambda layer: a zip with extensions/fairlead in it, for each architecture.
//
//	go run ./lambda/layer -out out
//
// The same sources and the same version of Go make the same bytes, wherever they are.
package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// extension is what a layer has in it.
const extension = "github.com/fairlead-go/fairlead/lambda/extension"

// maxSize bounds a zip, in bytes: each cold start of a function pays for it.
const maxSize = 6_200_000

// tags leave out HTTP/2, a thirtieth of the zip: AWS's services and the Lambda APIs speak HTTP/1.1 too.
const tags = "nethttpomithttp2"

func main() {
	out := flag.String("out", "out", "the directory for the zips")
	flag.Parse()
	if err := build(*out, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build writes the zips and says what they are.
func build(dir string, out io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	for _, arch := range []string{"arm64", "amd64"} {
		binary, err := compile(arch)
		if err != nil {
			return err
		}
		layer, err := pack(binary)
		if err != nil {
			return fmt.Errorf("layer: pack for %s: %w", arch, err)
		}
		path := filepath.Join(dir, "fairlead-lambda-"+arch+".zip")
		if len(layer) > maxSize {
			return fmt.Errorf("layer: %s would have %d bytes, and %d are allowed: see what go list -deps says that the extension imports", path, len(layer), maxSize)
		}
		if err := os.WriteFile(path, layer, 0o644); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		fmt.Fprintf(out, "%s  %d bytes (%d unpacked)  sha256 %x\n", path, len(layer), len(binary), sha256.Sum256(layer))
	}
	return nil
}

// compile returns the extension's executable, without symbols and without anything of the machine it was made on.
func compile(arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "fairlead-layer-")
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "fairlead")
	cmd := exec.Command("go", "build", "-tags", tags, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", path, extension)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("layer: build for %s: %w", arch, err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return binary, nil
}

// pack makes a zip that depends on nothing but the executable.
func pack(binary []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, flate.BestCompression) })
	header := &zip.FileHeader{Name: "extensions/fairlead", Method: zip.Deflate} // without a time: that of no day
	header.SetMode(0o755)
	f, err := w.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(binary); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
