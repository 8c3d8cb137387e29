package doctor

import (
	"fmt"
	"net"
	"strings"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/rdsname"
)

// place is where the servers are, as far as the DSN says: what mends something depends on it.
type place uint8

const (
	elsewhere place = iota // perhaps behind a tunnel or a name of one's own, and RDS all the same
	here                   // on this machine
	onRDS
)

// place returns where the servers are.
func (e *examination) place() place {
	local := true
	for _, h := range e.hosts {
		if rdsname.Parse(h.name).Kind != rdsname.None {
			return onRDS
		}
		ip := net.ParseIP(strings.Trim(h.name, "[]"))
		local = local && (h.local() || strings.HasPrefix(h.name, "@") || strings.EqualFold(h.name, "localhost") || ip != nil && ip.IsLoopback())
	}
	switch {
	case e.aurora || e.cfg.Auth == driver.AuthIAM:
		return onRDS // by way of this machine, perhaps
	case local:
		return here
	}
	return elsewhere
}

// refusalRemedy mends that nothing listens.
func (e *examination) refusalRemedy() string {
	switch e.place() {
	case here:
		return fmt.Sprintf("nothing listens there: start the server (`pg_lsclusters`, `systemctl status postgresql` or `docker ps` show what runs), or correct the port in the DSN, which is %d", e.hosts[0].port)
	case onRDS:
		return "nothing listens there: check host and port, and that the instance is available: aws rds describe-db-instances --query 'DBInstances[].[DBInstanceIdentifier,DBInstanceStatus,Endpoint]'"
	}
	return "nothing listens there: check host and port, that the server runs, and that its listen_addresses has that address"
}

// silenceRemedy mends that nobody answers.
func (e *examination) silenceRemedy() string {
	switch e.place() {
	case here:
		return "something on this machine drops the packets: check its firewall and the port in the DSN"
	case onRDS:
		return fmt.Sprintf("let it through the security group: aws ec2 authorize-security-group-ingress --group-id <of the cluster> --protocol tcp --port %d --source-group <of this machine>; a cluster that is paused takes up to a minute to answer", e.hosts[0].port)
	}
	return fmt.Sprintf("check the address, and that firewalls and security groups between here and there let TCP port %d through", e.hosts[0].port)
}

// renewalRemedy mends a certificate that ends.
func (e *examination) renewalRemedy() string {
	if e.place() == onRDS {
		return "renew it: aws rds modify-db-instance --db-instance-identifier <instance> --ca-certificate-identifier rds-ca-rsa2048-g1"
	}
	return "renew the server's certificate (ssl_cert_file) and reload the server"
}

// rootsRemedy adds where the certificates come from that the server's is verified by.
func (e *examination) rootsRemedy() string {
	switch e.place() {
	case onRDS:
		return ", and sslrootcert=rds if the host is not an RDS endpoint by its name"
	case here:
		return ", and sslrootcert to the file with the certificate of its authority"
	}
	return ", and sslrootcert to the file with the certificate of its authority (sslrootcert=rds for a server of RDS)"
}

// replicaRemedy mends that not all instances are reached.
func (e *examination) replicaRemedy() string {
	text := "every instance has to be reached from here, not the writer alone: check that it runs, and the way to it"
	if e.place() == onRDS {
		text = "the security group has to let this machine in to every instance, not to the writer alone; an instance that is down comes back by itself or has to be deleted"
	}
	return text
}
