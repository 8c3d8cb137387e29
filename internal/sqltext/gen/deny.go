package main

import "regexp"

// denied are the functions that are immutable or stable by the catalog and still do more than compute, with the reason.
var denied = []struct {
	names  *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`_to_xml`), "run SQL text, or read whatever relation a string names"},
	{regexp.MustCompile(`^ts_(stat|rewrite)$`), "run SQL text"},
	{regexp.MustCompile(`^(txid_current|pg_current_xact_id)$`), "give the transaction an id"},
	{regexp.MustCompile(`_validator$`), "compile the functions that they are given"},
	{regexp.MustCompile(`^pg_input_`), "run the input function of any type, and the checks of any domain"},
	{regexp.MustCompile(`^satisfies_hash_partition$`), "runs the hash functions of any operator class"},
	{regexp.MustCompile(`^pg_event_trigger_`), "belong into event triggers"},
	{regexp.MustCompile(`^(currval|lastval)$`), "tell what the session did before"},
	{regexp.MustCompile(`^(lo|dblink)_|^pg_(ls|read|logical|replication|create|drop)_`), "reach beyond the rows of the database"},
}

func isDenied(name string) bool {
	for _, d := range denied {
		if d.names.MatchString(name) {
			return true
		}
	}
	return false
}
