package faq_test

import (
	"fmt"

	"lowbit/method/faq"
	"lowbit/quant"
)

func ExampleConfig_ActRule() {
	bits, err := quant.ParseBits("w4a4")
	if err != nil {
		fmt.Println(err)
		return
	}
	c := faq.DefaultConfig(bits)
	grid := quant.Spec{Bits: 4}
	rule := c.ActRule(grid)
	fmt.Println(rule.Percentile, quant.RangeStep(5.3, grid, rule.Pow2))
	// Output: 99.9 0.5
}
