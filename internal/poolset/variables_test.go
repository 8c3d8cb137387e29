package poolset

import (
	"slices"
	"testing"
)

func TestVariablesThatNobodyReadsAreTold(t *testing.T) {
	got := Unknown([]string{"FAIRLEAD_POOL_SIZE=4", "FAIRLEAD_POOLSIZE=4", "FAIRLEAD_COMMIT_RESOLUTION=lsn", "FAIRLEAD_DISABLE=1", "FAIRLEAD_COLOUR=red", "FAIRLEAD_FREEZE=idle", "PATH=/bin"},
		"FAIRLEAD_FREEZE")
	want := []string{"nobody reads the variable FAIRLEAD_POOLSIZE: did you mean FAIRLEAD_POOL_SIZE?", "nobody reads the variable FAIRLEAD_COLOUR"}
	if !slices.Equal(got, want) {
		t.Errorf("told: %q", got)
	}
}
