package chaos

import (
	"os"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }
