// Package live remembers the little that decisions need to know of live objects: who owns whom, and the
// pod templates of owners. It learns from admitted requests and from watches; it never asks on the request path.
package live
