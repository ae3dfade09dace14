// Package mirror brings commits here: a bare mirror of one branch of one repository. It trusts nothing, and
// nothing is believed because it is here. It is the one door to go-git.
package mirror
