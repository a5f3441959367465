package model

// Unregister takes a test's network out of the zoo.
func Unregister(name string) {
	mu.Lock()
	defer mu.Unlock()
	delete(zoo, name)
}
