package rdsname

import (
	"regexp"
	"strings"
)

// Partition is a part of AWS that has nothing in common with the others: its regions, its names, its ARNs.
type Partition struct {
	ID     string // as ARNs have it: aws, aws-cn
	Suffix string // of the names of its services: amazonaws.com

	regions *regexp.Regexp
	// reversed says that its endpoints may have rds before the region.
	reversed bool
	// Bundled says that who signs its endpoints' certificates is in the bundle of RDS that AWS publishes.
	Bundled bool
}

// partitions are those that the AWS SDK knows. The last one takes the regions that are not known yet.
var partitions = []*Partition{
	{"aws-cn", "amazonaws.com.cn", regexp.MustCompile(`^cn-[a-z]+-\d+$`), true, true},
	{"aws-us-gov", "amazonaws.com", regexp.MustCompile(`^us-gov-[a-z]+-\d+$`), true, true},
	{"aws-eusc", "amazonaws.eu", regexp.MustCompile(`^eusc-[a-z]+-[a-z]+-\d+$`), true, false},
	{"aws-iso", "c2s.ic.gov", regexp.MustCompile(`^us-iso-[a-z]+-\d+$`), true, false},
	{"aws-iso-b", "sc2s.sgov.gov", regexp.MustCompile(`^us-isob-[a-z]+-\d+$`), true, false},
	{"aws-iso-e", "cloud.adc-e.uk", regexp.MustCompile(`^eu-isoe-[a-z]+-\d+$`), true, false},
	{"aws-iso-f", "csp.hci.ic.gov", regexp.MustCompile(`^(us|eu)-isof-[a-z]+-\d+$`), true, false},
	{"aws", "amazonaws.com", regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d+$`), false, true},
}

// PartitionOf is the partition that a region belongs to.
func PartitionOf(region string) *Partition {
	for _, p := range partitions {
		if p.regions.MatchString(region) {
			return p
		}
	}
	return partitions[len(partitions)-1]
}

// Bundled reports whether a host is an RDS endpoint whose certificate is signed by an authority in the bundle that AWS publishes.
func Bundled(host string) bool {
	if Parse(host).Kind == None {
		return false
	}
	region := Region(host)
	return region == "" || PartitionOf(region).Bundled
}

// suffixOf is the part that all endpoints of a region share, from the region on: <region>.rds.amazonaws.com, in some partitions also
// rds.<region>.amazonaws.com.cn. Two labels at least stand before it.
func suffixOf(labels []string) string {
	for _, p := range partitions {
		own := strings.Split(p.Suffix, ".")
		n := len(labels) - len(own) // where it begins
		if n < 4 || strings.Join(labels[n:], ".") != p.Suffix {
			continue
		}
		usual := labels[n-1] == "rds" && (p.regions.MatchString(labels[n-2]) || p.ID == "aws")
		if reversed := p.reversed && labels[n-2] == "rds" && p.regions.MatchString(labels[n-1]); usual || reversed {
			return strings.Join(labels[n-2:], ".")
		}
	}
	return ""
}
