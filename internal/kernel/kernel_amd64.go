//go:build !noasm && gc

package kernel

import "golang.org/x/sys/cpu"

// rows lists what this CPU can run. The feature sets are those that the
// generated assembly names under "Requires".
func rows() []Table {
	all := []Table{genericRow()}
	x := &cpu.X86
	if x.HasAVX2 && x.HasFMA {
		t := all[len(all)-1]
		t.Name = "avx2"
		t.VecOps = avx2Vec(t.VecOps)
		t.MatOps = avx2Mat(t.MatOps)
		t.IntOps = avx2Int(t.IntOps)
		all = append(all, t)
		if x.HasAVXVNNI {
			t.Name = "avxvnni"
			t.IntOps = avxVNNIInt(t.IntOps)
			t.peak.u8s8 = peakU8S8AVXVNNI
			all = append(all, t)
		}
		if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI {
			t.Name = "avx512"
			t.VecOps = avx512Vec(t.VecOps)
			t.MatOps = avx512Mat(t.MatOps)
			t.IntOps = avx512Int(t.IntOps)
			all = append(all, t)
			if x.HasAVX512BF16 {
				t.Name = "avx512bf16"
				t.MatOps = bf16Mat(t.MatOps)
				all = append(all, t)
			}
			if hasTiles() {
				t.Name = "amx"
				t.IntOps = amxInt(t.IntOps)
				t.peak.u8s8 = peakU8S8AMX
				all = append(all, t)
			}
		}
	}
	return all
}
