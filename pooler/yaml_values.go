package pooler

import (
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
)

// duration is one as Go writes it, or a number of seconds, as RDS Proxy has them.
type duration time.Duration

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (d *duration) UnmarshalYAML(unmarshal func(any) error) error {
	var seconds int64
	if unmarshal(&seconds) == nil {
		*d = duration(time.Duration(seconds) * time.Second)
		return nil
	}
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration: 30s, 5m or a number of seconds is expected", text)
	}
	*d = duration(v)
	return nil
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
		_, err := awscreds.NewSecrets(awscreds.SecretsConfig{SecretID: text})
		return err
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
			return &yaml.SyntaxError{Message: err.Error(), Token: entry.Key.GetToken()}
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
		return &yaml.SyntaxError{Message: err.Error(), Token: n.GetToken()}
	}
	return nil
}
