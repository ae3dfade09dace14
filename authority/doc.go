// Package authority is the gate's own certificate authority: the folder or Secret that holds it, how one follows another, and the leaves that
// replicas issue from it in memory.
//
// Replicas share the authority and nothing else. Which of several issues is no agreement between them: each uses the newest that the API server
// already trusts, which all read in the same place, the caBundle of the webhook configuration. So a new authority is trusted before any leaf of it
// is shown, and an old one is given up only after.
package authority
