// Command lowbit quantizes, trains and runs neural networks at 8, 4, 3 or 2
// bits.
package main

import "lowbit"

func main() { lowbit.Main() }
