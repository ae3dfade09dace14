// Argocd-redis is the Redis that Argo CD's programs share, in memory: miniredis, whose clock goes on by itself.
package main

import (
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(os.Args[1]); err != nil {
		panic(err)
	}
	for range time.Tick(time.Second) {
		m.FastForward(time.Second)
	}
}
