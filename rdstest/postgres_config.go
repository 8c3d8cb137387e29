package rdstest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// settings are the same for all servers. Durability is what the cluster's several servers are for: no test needs the disk to
// survive a loss of power.
const settings = `
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 250
superuser_reserved_connections = 10
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
fsync = off
wal_level = replica
max_wal_size = 1GB
min_wal_size = 32MB
wal_keep_size = 512MB
max_wal_senders = 20
wal_retrieve_retry_interval = 50ms
hot_standby = on
hot_standby_feedback = on
password_encryption = scram-sha-256
timezone = UTC
log_timezone = UTC
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
`

const hbaRules = `
local all         all            scram-sha-256
local replication ` + replicationRole + ` scram-sha-256
`

// serverConfig is what differs from server to server, and in time.
type serverConfig struct {
	id string
	// synchronous are the standbys one of which has to have a commit before it is acknowledged.
	synchronous []string
}

// render makes the configuration file.
func (s *server) render(c serverConfig) []byte {
	var b strings.Builder
	b.WriteString(settings)
	set := func(name, value string) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	set("cluster_name", c.id)
	set("unix_socket_directories", s.dir)
	fmt.Fprintf(&b, "port = %d\n", s.port)
	set("hba_file", filepath.Join(s.dir, "pg_hba.conf"))
	// It is the same whoever the primary is: the uplink knows.
	set("primary_conninfo", fmt.Sprintf("host=%s port=%d user=%s password=%s application_name=%s",
		s.uplinkDir(), s.port, replicationRole, s.secrets.replication, c.id))
	if len(c.synchronous) > 0 {
		set("synchronous_standby_names", `ANY 1 ("`+strings.Join(c.synchronous, `", "`)+`")`)
	}
	return []byte(b.String())
}

// configure writes the configuration file; a server that runs has to be told to read it.
func (s *server) configure(c serverConfig) error {
	if err := s.account.writeFile(s.config(), s.render(c)); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", c.id, err)
	}
	return nil
}

// prepare writes what never changes.
func (s *server) prepare(iam bool) error {
	rules := hbaRules
	if iam {
		rules = iamRules + hbaRules
	}
	return s.account.writeFile(filepath.Join(s.dir, "pg_hba.conf"), []byte(rules))
}
