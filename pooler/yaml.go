package pooler

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
)

// file is the configuration as a file has it.
type file struct {
	Listeners []struct {
		Address    string     `yaml:"address"`
		Cluster    string     `yaml:"cluster"`
		TargetRole TargetRole `yaml:"target_role"`
		Fallback   fallback   `yaml:"reader_fallback"`
		Mode       Mode       `yaml:"mode"`
		Login      Login      `yaml:"login"`
		IAMAuth    iamAuth    `yaml:"iam_auth"`
		RequireTLS bool       `yaml:"require_tls"`
		Cert       string     `yaml:"tls_cert_file"`
		Key        string     `yaml:"tls_key_file"`
		ClientCA   string     `yaml:"tls_client_ca_file"`
		CertMap    []struct {
			Field certField   `yaml:"field"`
			Name  certPattern `yaml:"name"`
			User  string      `yaml:"user"`
		} `yaml:"cert_map"`
	} `yaml:"listeners"`
	Clusters map[string]fileCluster `yaml:"clusters"`
	Users    map[string]struct {
		Password     given    `yaml:"password"`
		PasswordFile string   `yaml:"password_file"`
		SecretID     secretID `yaml:"secret_id"`
		AWSRegion    string   `yaml:"aws_region"`
		AWSProfile   string   `yaml:"aws_profile"`
		MaxClients   int      `yaml:"max_client_conn"`
	} `yaml:"users"`
	Admin struct {
		Address string `yaml:"address"`
	} `yaml:"admin"`
	MaxClients             int      `yaml:"max_client_conn"`
	IdleClientTimeout      duration `yaml:"idle_client_timeout"`
	IdleTransactionTimeout duration `yaml:"idle_transaction_timeout"`
	QueryTimeout           duration `yaml:"query_timeout"`
	ClientMessageTimeout   duration `yaml:"client_message_timeout"`
	ClientMemoryLimit      size     `yaml:"client_memory_limit"`
	LoginTimeout           duration `yaml:"login_timeout"`
	DrainTimeout           duration `yaml:"drain_timeout"`
	DebugLogging           bool     `yaml:"debug_logging"`
}

type fileCluster struct {
	DSN            string          `yaml:"dsn"`
	DSNFile        string          `yaml:"dsn_file"`
	AuthQuery      authQueryText   `yaml:"auth_query"`
	AuthDSN        string          `yaml:"auth_dsn"`
	AuthDSNFile    string          `yaml:"auth_dsn_file"`
	IAMRoles       iamRoles        `yaml:"iam_roles"`
	IAMAudience    iamAudience     `yaml:"iam_audience"`
	STSEndpoint    stsEndpoint     `yaml:"sts_endpoint"`
	PoolSize       int             `yaml:"pool_size"`
	MaxServer      int             `yaml:"max_server_connections"`
	MaxPercent     int             `yaml:"max_connections_percent"`
	MaxIdlePercent int             `yaml:"max_idle_connections_percent"`
	MinPoolSize    int             `yaml:"min_pool_size"`
	BorrowTimeout  duration        `yaml:"connection_borrow_timeout"`
	InitQuery      string          `yaml:"init_query"`
	PinningFilters []PinningFilter `yaml:"session_pinning_filters"`
	ServerLifetime duration        `yaml:"server_lifetime"`
	ServerIdle     duration        `yaml:"server_idle_timeout"`
	Statements     int             `yaml:"max_prepared_statements"`
	VerifyClean    bool            `yaml:"verify_clean"`
	Databases      map[string]struct {
		PoolSize   int `yaml:"pool_size"`
		MaxClients int `yaml:"max_client_conn"`
	} `yaml:"databases"`
}

// cluster is the Cluster that a file means by a name.
func (f fileCluster) cluster(name string) (*Cluster, error) {
	key := "clusters." + name + ".dsn"
	dsn, err := either(key, f.DSN, f.DSNFile)
	if err != nil {
		return nil, err
	}
	k := &Cluster{
		Databases: make(map[string]Database, len(f.Databases)), PoolSize: f.PoolSize,
		MaxServerConnections: f.MaxServer, MaxConnectionsPercent: f.MaxPercent,
		MaxIdleConnectionsPercent: f.MaxIdlePercent, MinPoolSize: f.MinPoolSize, BorrowTimeout: time.Duration(f.BorrowTimeout),
		InitQuery: f.InitQuery, PinningFilters: f.PinningFilters, ServerLifetime: time.Duration(f.ServerLifetime),
		ServerIdleTimeout: time.Duration(f.ServerIdle), Statements: f.Statements, AuthQuery: string(f.AuthQuery),
		IAMRoles: f.IAMRoles, IAMAudience: string(f.IAMAudience), STSEndpoint: string(f.STSEndpoint),
	}
	for name, d := range f.Databases {
		k.Databases[name] = Database{PoolSize: d.PoolSize, MaxClients: d.MaxClients}
	}
	if f.VerifyClean {
		k.VerifyClean = VerifyOn
	}
	if k.Database, err = driver.ParseConfig(dsn); err != nil {
		return nil, fmt.Errorf("pooler: %s: %w", key, err)
	}
	if f.AuthDSN == "" && f.AuthDSNFile == "" {
		return k, nil
	}
	key = "clusters." + name + ".auth_dsn"
	if dsn, err = either(key, f.AuthDSN, f.AuthDSNFile); err != nil {
		return nil, err
	}
	if k.AuthDatabase, err = driver.ParseConfig(dsn); err != nil {
		return nil, fmt.Errorf("pooler: %s: %w", key, err)
	}
	return k, nil
}

// ParseConfig reads a configuration in YAML. A key that it does not know is an error, with its line and column. What is not
// in the text has the defaults of Config.
func ParseConfig(text []byte) (Config, error) {
	f, err := readYAML(text)
	if err != nil {
		return Config{}, fmt.Errorf("pooler: configuration: %w", err)
	}
	cfg := Config{
		MaxClients: f.MaxClients, IdleClientTimeout: time.Duration(f.IdleClientTimeout),
		IdleTransactionTimeout: time.Duration(f.IdleTransactionTimeout), QueryTimeout: time.Duration(f.QueryTimeout),
		ClientMemoryLimit: int(f.ClientMemoryLimit), ClientMessageTimeout: time.Duration(f.ClientMessageTimeout), LoginTimeout: time.Duration(f.LoginTimeout), DrainTimeout: time.Duration(f.DrainTimeout), Admin: f.Admin.Address,
		Clusters: make(map[string]*Cluster, len(f.Clusters)), Users: make(map[string]User, len(f.Users)),
	}
	if f.DebugLogging {
		cfg.DebugLogging = DebugOn
	}
	for name, k := range f.Clusters {
		if cfg.Clusters[name], err = k.cluster(name); err != nil {
			return Config{}, err
		}
	}
	for i, l := range f.Listeners {
		listener := Listener{Address: l.Address, Cluster: l.Cluster, TargetRole: l.TargetRole, Mode: l.Mode, Login: l.Login, IAMAuth: IAMAuth(l.IAMAuth),
			ReaderFallback: driver.Switch(l.Fallback)}
		if l.RequireTLS {
			listener.Encryption = EncryptionRequired
		}
		for _, r := range l.CertMap {
			listener.CertMap = append(listener.CertMap, CertRule{Field: CertField(r.Field), Name: string(r.Name), User: r.User})
		}
		if listener.TLS, err = tlsConfig(l.Cert, l.Key, l.ClientCA); err != nil {
			return Config{}, fmt.Errorf("pooler: listener %d: %w", i+1, err)
		}
		cfg.Listeners = append(cfg.Listeners, listener)
	}
	for name, u := range f.Users {
		user := User{MaxClients: u.MaxClients}
		if u.SecretID != "" {
			user.Secret = &awscreds.SecretsConfig{SecretID: string(u.SecretID), Config: awscreds.Config{Region: u.AWSRegion, Profile: u.AWSProfile}}
		}
		if u.Password != "" || u.PasswordFile != "" {
			key, from := "users."+name+".password", ""
			if user.Password, err = either(key, string(u.Password), u.PasswordFile); err != nil {
				return Config{}, err
			}
			if u.PasswordFile != "" {
				from = "_file"
			}
			if err := checkPassword(user.Password); err != nil {
				return Config{}, fmt.Errorf("pooler: %s%s: %w", key, from, err)
			}
		}
		cfg.Users[name] = user
	}
	return cfg, nil
}

// tlsConfig is what a listener's files say; nil if there are none.
func tlsConfig(certFile, keyFile, clientCAFile string) (*tls.Config, error) {
	if certFile == "" && keyFile == "" && clientCAFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("tls_cert_file and tls_key_file: %w", withoutPath(err))
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if clientCAFile == "" {
		return cfg, nil
	}
	text, err := readNamed("tls_client_ca_file", clientCAFile)
	if err != nil {
		return nil, err
	}
	cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !cfg.ClientCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("tls_client_ca_file: the file has no certificate in PEM")
	}
	return cfg, nil
}

// either is a secret that stands in the configuration, or in a file of its own.
func either(key, value, path string) (string, error) {
	switch {
	case value != "" && path != "":
		return "", fmt.Errorf("pooler: %s and %s_file are both given: one is enough", key, key)
	case value != "":
		return value, nil
	case path == "":
		return "", fmt.Errorf("pooler: %s is missing, or %s_file", key, key)
	}
	text, err := readNamed("pooler: "+key+"_file", path)
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(bytes.TrimPrefix(text, []byte(byteOrderMark)), "\r\n")), nil
}
