// Package names is a small DNS server on loopback whose answers a test changes as a failover does: at once, or after the
// old answer has stayed for a while, as RDS's endpoints are known for.
//
//	s, err := names.Start()
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	s.Set("shop.cluster-c1.eu-central-1.rds.amazonaws.com", writer)
//	addrs, err := s.Resolver().LookupNetIP(ctx, "ip4", "shop.cluster-c1.eu-central-1.rds.amazonaws.com")
//	if err != nil {
//		return err
//	}
//	// The writer moves, and its name follows 30 s later.
//	s.SetAfter(30*time.Second, "shop.cluster-c1.eu-central-1.rds.amazonaws.com", next)
//
// It knows addresses of IPv4 and nothing else: another kind of question about a name that exists has an empty answer, and a
// name that does not exist gets NXDOMAIN. Answers are authoritative and may be kept for 5 s, as RDS's may; no case is
// told apart.
package names
