package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lowbit/app/verify"
	"lowbit/load"
)

// encoder exports an encoder.
func (v *exportFlags) encoder(a *app) error {
	n, err := load.OpenEncoder(v.model.model)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.out), 0o777); err != nil {
		return err
	}
	e, err := verify.EncoderONNX(a.out, n, verify.ONNXStyle(v.style))
	if err != nil {
		return err
	}
	return a.print(exportResult{e, v.model.model, v.to}, false, func(w io.Writer) {
		fmt.Fprintf(w, "file      %s\nsize      %s\nverified  the result on two sequences of tokens\n", e.Path, size(e.SizeBytes))
	})
}
