package verify

import (
	"os"

	"lowbit/data"
	"lowbit/format/onnx"
	"lowbit/infer"
	"lowbit/load"
)

// ONNX writes a quantized network as an ONNX model of quantized operations, with
// labels and normalisation as Pack's.
func ONNX(path string, l *load.Loaded, ds *data.Dataset) (Exported, error) {
	info := describe(l, ds)
	e := Exported{Path: path, Labels: info.Labels, Preprocess: info.Preprocess}
	m, err := infer.ONNX(l.Graph, l.Store, info)
	if err != nil {
		return e, err
	}
	if err := onnx.Write(path, m); err != nil {
		return e, err
	}
	stat, err := os.Stat(path)
	if err != nil {
		return e, err
	}
	e.SizeBytes = stat.Size()
	return e, nil
}
