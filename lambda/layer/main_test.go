package main

import (
	"archive/zip"
	"bytes"
	"io"
	"testing"
)

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
