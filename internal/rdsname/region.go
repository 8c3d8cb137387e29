package rdsname

import "strings"

// Region is the AWS region in the name of an RDS endpoint, "" if the name is none or has none, as that of a global
// database.
func Region(host string) string {
	if k := Parse(host).Kind; k == None || k == Global {
		return ""
	}
	suffix := suffixOf(strings.Split(strings.TrimSuffix(strings.ToLower(host), "."), "."))
	region, _, _ := strings.Cut(strings.TrimPrefix(suffix, "rds."), ".")
	return region
}
