package main

// collectorRoom is how much garbage the collector lets lie beside what lives, whatever lives: a gate for a small repository would else collect a hundred times
// a second under load. The system gives no memory for it, since nobody writes there.
const collectorRoom = 32 << 20

// newCollectorRoom makes that room, for as long as the caller keeps it alive.
func newCollectorRoom() []byte { return make([]byte, collectorRoom) }
