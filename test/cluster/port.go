package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports for programs that are started later are taken from below the range that systems give away by themselves, to connections and to listeners that
// do not mind (from 32768 on Linux, from 49152 elsewhere): else somebody else would be given one before its program listens.
const firstPort, lastPort = 10000, 32000

// FreeAddress is an address of the loopback interface, at which nobody listens, for a program that is about to.
func FreeAddress() (string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0]), nil
}

// freePorts finds distinct TCP ports of the loopback interface that nobody uses at this moment.
func freePorts(n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer l.Close() // only after all are found, so that they are distinct
		ports = append(ports, port)
	}
	return ports, nil
}
