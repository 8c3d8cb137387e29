package main

import (
	"archive/zip"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestTheLayerIsTheSameWhereverItIsBuilt(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the extension twice, from scratch: make test does")
	}
	here, err := compile(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(copyModule(t))
	there, err := compile(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(here, there) {
		t.Error("another folder makes other bytes")
	}
	layer, err := pack(here)
	if err != nil {
		t.Fatal(err)
	}
	if len(layer) > maxSize {
		t.Errorf("the layer has %d bytes, and %d are allowed", len(layer), maxSize)
	}
}

// copyModule copies the module's sources to another folder.
func copyModule(t *testing.T) string {
	t.Helper()
	const root = "../.."
	dir := t.TempDir()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "out" || name != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestALayerHasAnExecutableExtensionAndDependsOnNothingElse(t *testing.T) {
	binary := bytes.Repeat([]byte("fairlead "), 1000)
	layer, err := pack(binary)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pack(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(layer, again) {
		t.Error("the same executable makes different zips")
	}
	r, err := zip.NewReader(bytes.NewReader(layer), int64(len(layer)))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != 1 || r.File[0].Name != "extensions/fairlead" || r.File[0].Mode().Perm() != 0o755 {
		t.Fatalf("in the zip: %+v", r.File[0].FileHeader)
	}
	f, err := r.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, binary) {
		t.Errorf("the executable is another one: %v", err)
	}
}
