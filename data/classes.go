package data

import "slices"

// Classes returns the names of a known set's classes, that of class i at i; nil
// for any other name.
func Classes(name string) []string {
	switch name {
	case "cifar10":
		return slices.Clone(cifarClasses)
	case "fashion-mnist":
		return slices.Clone(fashionClasses)
	}
	return nil
}
