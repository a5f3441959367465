package data

import "testing"

func TestClassesOfKnownSets(t *testing.T) {
	for name, want := range map[string]string{"cifar10": "cat", "fashion-mnist": "Dress"} {
		if c := Classes(name); len(c) != 10 || c[3] != want {
			t.Errorf("%s: %v, want 10 with %s at 3", name, c, want)
		}
	}
	if c := Classes("imagefolder"); c != nil {
		t.Errorf("a folder of images has classes of its own, got %v", c)
	}
	Classes("cifar10")[0] = "changed"
	if Classes("cifar10")[0] != "airplane" {
		t.Error("a caller's change reaches the set")
	}
}
