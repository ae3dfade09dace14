package audit

import (
	"fmt"
	"time"
)

// Period is how much time one shard of a log covers. A shard is sealed by itself, and removed as a whole when its time is over.
type Period string

// The periods.
const (
	Quarter Period = "quarter" // 2026-Q4
	Month   Period = "month"   // 2026-11
	Day     Period = "day"     // 2026-11-21
)

func (p Period) valid() bool { return p == Quarter || p == Month || p == Day }

// shard names the shard that t falls into, in UTC. Names sort by time.
func (p Period) shard(t time.Time) string {
	t = t.UTC()
	switch p {
	case Month:
		return t.Format("2006-01")
	case Day:
		return t.Format("2006-01-02")
	default:
		return fmt.Sprintf("%04d-Q%d", t.Year(), (int(t.Month())+2)/3)
	}
}
