package rdsname

import "strings"

// Parse reads a host name, in any case, with or without the final dot.
func Parse(host string) Name {
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(host), "."), ".")
	for _, l := range labels {
		if l == "" {
			return Name{}
		}
	}
	suffix := suffixOf(labels)
	if suffix == "" {
		return Name{}
	}
	if strings.HasPrefix(labels[1], "global-") {
		if labels[2] == "global" {
			return Name{Kind: Global}
		}
		return Name{}
	}
	if proxied(labels) {
		return Name{Kind: Proxy}
	}
	if len(labels) != strings.Count(suffix, ".")+3 {
		return Name{}
	}
	kind, id := Instance, labels[1]
	for _, c := range []struct {
		prefix string
		kind   Kind
	}{{"cluster-ro-", Reader}, {"cluster-custom-", Custom}, {"cluster-", Cluster}} {
		if rest, ok := strings.CutPrefix(id, c.prefix); ok {
			kind, id = c.kind, rest
			break
		}
	}
	if id == "" {
		return Name{}
	}
	return Name{Kind: kind, InstancePattern: "?." + id + "." + suffix}
}

// proxied says whether the name is one of an RDS Proxy: <name>.proxy-<id>.<region>… for its own endpoint, and
// <name>.endpoint.proxy-<id>.<region>… for one that was added to it.
func proxied(labels []string) bool {
	return strings.HasPrefix(labels[1], "proxy-") || labels[1] == "endpoint" && strings.HasPrefix(labels[2], "proxy-")
}
