package play_test

import (
	"context"
	"fmt"

	"lowbit/app/play"
)

// The planner plays two games of 200 decisions.
func ExampleRun() {
	r, err := play.Run(context.Background(), play.Config{
		Model: "planner", Env: "minatar/breakout", Episodes: 2, MaxSteps: 200, Seed: 1, Threads: 1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Episodes, "episodes,", r.MeanLength, "decisions each, more than ten bricks:", r.MeanReturn > 10)
	// Output: 2 episodes, 200 decisions each, more than ten bricks: true
}
