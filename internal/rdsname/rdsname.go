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

// suffixOf is the part that all endpoints of a region share, from the region on: <region>.rds.amazonaws.com and, in
// China, <region>.rds.amazonaws.com.cn or rds.<region>.amazonaws.com.cn. Two labels at least stand before it.
func suffixOf(labels []string) string {
	n := len(labels)
	switch {
	case n >= 6 && strings.Join(labels[n-3:], ".") == "rds.amazonaws.com":
		return strings.Join(labels[n-4:], ".")
	case n >= 7 && strings.Join(labels[n-4:], ".") == "rds.amazonaws.com.cn":
		return strings.Join(labels[n-5:], ".")
	case n >= 7 && strings.Join(labels[n-3:], ".") == "amazonaws.com.cn" && labels[n-5] == "rds":
		return strings.Join(labels[n-5:], ".")
	}
	return ""
}

// proxied says whether the name is one of an RDS Proxy: <name>.proxy-<id>.<region>… for its own endpoint, and
// <name>.endpoint.proxy-<id>.<region>… for one that was added to it.
func proxied(labels []string) bool {
	return strings.HasPrefix(labels[1], "proxy-") || labels[1] == "endpoint" && strings.HasPrefix(labels[2], "proxy-")
}
