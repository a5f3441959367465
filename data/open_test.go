package data

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"lowbit/internal/testenv"
)

// binaryForm rewrites images first..first+n-1 to official records.
func binaryForm(tb testing.TB, d *Dataset, first, n int) []byte {
	tb.Helper()
	var out []byte
	for i := first; i < first+n; i++ {
		p, err := d.Pixels(i, nil)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(append(out, uint8(d.Label(i))), p...)
	}
	return out
}

func TestSharedCIFAR10HasTheOfficialBytes(t *testing.T) {
	dir := testenv.Shared(t, "data", "cifar10")
	start := time.Now()
	train, test, rep, err := Open("cifar10", testenv.Shared(t, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d examples in %v\n%s", rep.Examples, time.Since(start), rep)
	if rep.Path != dir || rep.Train != (Found{10_000, 50_000}) || rep.Test != (Found{10_000, 10_000}) || rep.Complete() {
		t.Errorf("report %+v", rep)
	}
	for d, want := range map[*Dataset]string{train: cifarSHA256[0], test: cifarSHA256[5]} {
		sum := sha256.Sum256(binaryForm(t, d, 0, d.Len()))
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: sha256 of the binary form %s, want %s", d.Split, got, want)
		}
	}
}
