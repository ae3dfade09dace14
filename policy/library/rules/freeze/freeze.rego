# METADATA
# title: Freeze windows
# description: |
#   While a window is open, changes to the listed paths and namespaces wait: they are in Git, and the agent applies
#   them by itself when the window has closed. A window is a span of time, or comes back every week.
#   What must not wait carries a trailer ("Freeze-Override: why") and more signatures than usual.
#   The clock is the gate's, as the record has it. Times of day are those of the time zone.
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.freeze

import data.lib.git
import data.lib.names

# METADATA
# custom:
#   id: freeze
deny contains {"msg": msg, "details": {"window": window.name}} if {
	input.request.operation in ["CREATE", "UPDATE", "DELETE"]
	some window in windows
	open(window)
	concerns(window)
	not overridden
	msg := sprintf("changes wait while the window %q is open; it can be passed with the trailer %s and %d signatures", [
		window.name, override.trailer, override.people,
	])
}

now := time.parse_rfc3339_ns(input.time)

# A span.
open(window) if {
	now >= time.parse_rfc3339_ns(window.from)
	now < time.parse_rfc3339_ns(window.until)
}

# Every week.
open(window) if {
	some rule in window.weekly
	time.weekday([now, window.zone]) in rule.days
	[hour, minute, _] := time.clock([now, window.zone])
	at := (hour * 60) + minute
	at >= minutes(object.get(rule, "from", "00:00"))
	at < minutes(object.get(rule, "until", "24:00"))
}

minutes(text) := (to_number(hour) * 60) + to_number(minute) if [hour, minute] := split(text, ":")

concerns(window) if {
	names.listed(object.get(window, "namespaces", ["*"]), names.namespace)
	concerned_path(window)
}

concerned_path(window) if not window.paths

concerned_path(window) if git.path_in(window.paths)

overridden if {
	some why in input.git.trailers[lower(override.trailer)]
	trim_space(why) != ""
	count(input.git.signers) >= override.people
}
