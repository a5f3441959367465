package rl_test

import (
	"fmt"

	"lowbit/rl"
)

// The planner plays Breakout; a random player loses the ball at once.
func Example() {
	env, err := rl.New("minatar/breakout", rl.Options{Envs: 8, MaxSteps: 500})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer env.Close()
	planner, err := rl.NewPlanner(env)
	if err != nil {
		fmt.Println(err)
		return
	}
	best, err := rl.Evaluate(env, planner, 16, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	random, err := rl.Evaluate(env, rl.NewRandom(6, 1), 16, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("planner breaks more than 30 bricks:", best.Mean > 30)
	fmt.Println("random breaks more than 3 bricks:", random.Mean > 3)
	// Output:
	// planner breaks more than 30 bricks: true
	// random breaks more than 3 bricks: false
}
