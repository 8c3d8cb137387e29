package pooler

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
)

// duration is one as Go writes it, or a number of seconds, as RDS Proxy has them.
type duration time.Duration

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (d *duration) UnmarshalYAML(n ast.Node) error {
	var text string
	return decodeChecked(n, &text, func(text string) error {
		if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
			text = strconv.FormatInt(seconds, 10) + "s"
		}
		v, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("no duration: 30s, 5m or a number of seconds is expected")
		}
		*d = duration(v)
		return nil
	})
}

// size is a number of bytes, or one with a unit of PostgreSQL's.
type size int

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (n *size) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	v, err := ParseSize(text)
	*n = size(v)
	return err
}

// ParseSize reads a number of bytes, with a unit of PostgreSQL's or without, as in 16777216, 512kB or 16MB.
func ParseSize(text string) (int, error) {
	number, unit := text, 1
	for name, bytes := range map[string]int{"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30} {
		if rest, ok := strings.CutSuffix(text, name); ok {
			number, unit = strings.TrimSpace(rest), bytes
		}
	}
	v, err := strconv.Atoi(number)
	if err != nil || v > math.MaxInt32 || v < math.MinInt32 {
		return 0, fmt.Errorf("%q is no size: a number of bytes is expected, or one of kB, MB or GB, as in 16MB", text)
	}
	return v * unit, nil
}

// authQueryText is a Cluster's AuthQuery; default stands for ours.
type authQueryText string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (q *authQueryText) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(q), func(text string) error {
		if text == "default" {
			*q = DefaultAuthQuery
			return nil
		}
		return checkAuthQuery(text)
	})
}

// secretID names a secret of AWS Secrets Manager.
type secretID string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (id *secretID) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(id), func(text string) error {
		if _, err := awscreds.NewSecrets(awscreds.SecretsConfig{SecretID: text}); err != nil {
			return errors.New("no name of a secret of Secrets Manager, and no ARN of one: arn:aws:secretsmanager:<region>:<account>:secret:<name>")
		}
		return nil
	})
}

// fallback is a ReaderFallback. YAML's own words for it are taken too.
type fallback string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (f *fallback) UnmarshalYAML(n ast.Node) error {
	var on bool
	if yaml.NodeToValue(n, &on) == nil {
		if *f = fallback(driver.Off); on {
			*f = fallback(driver.On)
		}
		return nil
	}
	return decodeChecked(n, (*string)(f), func(text string) error { return checkFallback(driver.Switch(text)) })
}

// iamAuth is an IAMAuth.
type iamAuth string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (a *iamAuth) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(a), func(text string) error { return IAMAuth(text).check() })
}

// iamRoles are a Cluster's IAMRoles.
type iamRoles map[string][]string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (r *iamRoles) UnmarshalYAML(n ast.Node) error {
	if err := yaml.NodeToValue(n, (*map[string][]string)(r)); err != nil {
		return err
	}
	list, ok := n.(*ast.MappingNode)
	if !ok {
		return nil // an empty one
	}
	for _, entry := range list.Values {
		if _, err := principal(entry.Key.GetToken().Value); err != nil {
			return at(entry.Key.GetToken(), err.Error())
		}
	}
	return nil
}

// iamAudience is a Cluster's IAMAudience.
type iamAudience string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (a *iamAudience) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(a), awscreds.CheckAudience)
}

// stsEndpoint is a Cluster's STSEndpoint.
type stsEndpoint string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (e *stsEndpoint) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(e), checkSTSEndpoint)
}

// certField is a CertField.
type certField string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (f *certField) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(f), func(text string) error { return CertField(text).check() })
}

// certPattern is the Name of a CertRule.
type certPattern string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (p *certPattern) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(p), func(text string) error {
		_, err := certExpression(text)
		return err
	})
}

// given is a text that is not empty where its key stands.
type given string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (g *given) UnmarshalYAML(n ast.Node) error {
	return decodeChecked(n, (*string)(g), func(text string) error {
		if text == "" {
			return errors.New("a value is missing here")
		}
		return nil
	})
}

// decodeChecked reads a text. What check has against it is told with its line and column.
func decodeChecked(n ast.Node, text *string, check func(string) error) error {
	if err := yaml.NodeToValue(n, text); err != nil {
		return err
	}
	if err := check(*text); err != nil {
		return at(n.GetToken(), err.Error())
	}
	return nil
}
