package cli

import (
	"fmt"
	"strings"
)

// didYouMean returns `, did you mean "x"?` with the name nearest to what was
// typed, or nothing where none is near.
func didYouMean(typed string, names []string) string {
	best, at := "", len(typed)/3+2
	for _, n := range names {
		d := distance(strings.ToLower(typed), strings.ToLower(n))
		if len(typed) > 2 && strings.HasPrefix(n, typed) {
			d = min(d, 1)
		}
		if d < at {
			best, at = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// distance counts the insertions, removals, changes and swaps of neighbours
// that turn a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d := min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
