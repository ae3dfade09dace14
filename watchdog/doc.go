// Package watchdog guards the gate's own registration: the webhook configuration by which the API server asks the gate, and the
// ValidatingAdmissionPolicies that guard it inside the API server. No webhook is ever asked about these, and no policy about policies, so whoever
// may write them can take them away; the watchdog notices, says so, and puts them back where it may.
//
// What the registration should be is told by files of the gate's own configuration. Of the cluster the package believes only that what it reads is
// what the API server acts on. It never changes anything but the objects that those files name, and a request never waits for it.
package watchdog
