// Commitgate is one binary: the gate (`serve`) and the tools around it.
package main
