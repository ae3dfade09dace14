package chaos

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// balancer is one address for several backends, as a Service is: a connection goes to one of those that were ready at the last look, and stays with
// it. It tries no second one: whoever is sent to a backend that has just died is refused.
type balancer struct {
	listener net.Listener
	backends []*backend
	next     atomic.Uint64
	stop     context.CancelFunc
	running  sync.WaitGroup
}

type backend struct {
	address, probes string
	ready           atomic.Bool
}

// newBalancer takes an address. Nobody is answered there before start.
func newBalancer() (*balancer, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	return &balancer{listener: listener, stop: func() {}}, err
}

// start looks at the readiness of the backends at an interval, until the balancer is closed.
func (b *balancer) start(backends []*backend, interval time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	b.backends, b.stop = backends, cancel
	for _, x := range backends {
		b.running.Go(func() { x.watch(ctx, interval) })
	}
	b.running.Go(b.serve)
}

func (b *balancer) address() string { return b.listener.Addr().String() }

func (b *balancer) close() error {
	b.stop()
	err := b.listener.Close()
	b.running.Wait()
	return err
}

// watch is the readiness probe of a kubelet.
func (x *backend) watch(ctx context.Context, interval time.Duration) {
	client := &http.Client{Timeout: time.Second}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		response, err := client.Get("http://" + x.probes + "/readyz")
		if err == nil {
			response.Body.Close()
		}
		x.ready.Store(err == nil && response.StatusCode == http.StatusOK)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *balancer) serve() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return // closed
		}
		go b.carry(conn.(*net.TCPConn))
	}
}

// pick is the next backend in turn of those that are ready; nil if none is.
func (b *balancer) pick() *backend {
	n := uint64(len(b.backends))
	at := b.next.Add(1)
	for i := range n {
		if x := b.backends[(at+i)%n]; x.ready.Load() {
			return x
		}
	}
	return nil
}

// carry hands bytes over until either side ends; an error of one is an error of the other.
func (b *balancer) carry(client *net.TCPConn) {
	defer client.Close()
	refuse := func() { _ = client.SetLinger(0) } // the close is a reset then
	x := b.pick()
	if x == nil {
		refuse()
		return
	}
	conn, err := net.Dial("tcp4", x.address)
	if err != nil {
		refuse()
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	if _, err := io.Copy(client, server); err != nil {
		refuse()
	}
	client.Close() // ends the other direction
	<-done
}
