// Package snapshot holds the truth of one moment: the verified revision of each trusted repository, the index of the
// objects that they declare, and the policies. A snapshot never changes once it is made.
package snapshot
