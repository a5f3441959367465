package kernel

func fakeQuantGeneric(dst, v, s []float32, lo, hi float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = rne(clip(v[i]/s[i], lo, hi)) * s[i]
	}
}

func quantU8Generic(dst []uint8, v, s []float32, lo, hi, zero float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = uint8(int32(rne(clip(v[i]/s[i], lo, hi)) + zero))
	}
}

func quantS8Generic(dst []int8, v, s []float32, lo, hi float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = int8(int32(rne(clip(v[i]/s[i], lo, hi))))
	}
}

func dequantU8Generic(dst []float32, q []uint8, s []float32, zero float32) {
	q, s = q[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = (float32(q[i]) - zero) * s[i]
	}
}

func dequantS8Generic(dst []float32, q []int8, s []float32) {
	q, s = q[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = float32(q[i]) * s[i]
	}
}

func fakeQuantGradGeneric(dv, ds, v, s, g []float32, lo, hi float32) {
	ds, v, s, g = ds[:len(dv)], v[:len(dv)], s[:len(dv)], g[:len(dv)]
	for i := range dv {
		z := v[i] / s[i]
		f, d := clip(z, lo, hi), float32(0)
		if z > lo && z < hi {
			f, d = rne(z)-z, g[i]
		}
		ds[i], dv[i] = g[i]*f, d
	}
}
