package pgconn

// ConnectHook is asked by ConnectConfig what to connect with in the place of config. Nil connects with config itself.
var ConnectHook func(config *Config) (*Config, error)

// MarkDirect keeps ConnectHook from being asked for config and its copies.
func MarkDirect(config *Config) { config.direct = true }
