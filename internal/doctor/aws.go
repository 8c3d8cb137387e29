package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/rdsname"
)

// skewAllowed is how wrong a clock may be for AWS.
const skewAllowed = 5 * time.Minute

func (e *examination) awsConfig() awscreds.Config {
	return awscreds.Config{AWS: e.cfg.AWS, Region: e.cfg.AWSRegion, Profile: e.cfg.AWSProfile}
}

// aws asks who this process is to AWS, and what time it is there.
func (e *examination) aws(ctx context.Context) Check {
	if e.cfg.Auth == driver.AuthPassword {
		return skip("auth=password needs no AWS")
	}
	cfg := e.awsConfig()
	if cfg.Region == "" {
		cfg.Region = rdsname.Region(e.target().Host)
	}
	who, err := awscreds.WhoAmI(ctx, cfg)
	switch reason := awscreds.ReasonOf(err); {
	case reason == awscreds.Unreachable || reason == awscreds.Throttled:
		return warn(err.Error(), "it is needed for diagnosis only: an interface endpoint for STS would let clocks be compared")
	case err != nil:
		return failedWith(err)
	case who.Skew.Abs() > skewAllowed:
		return fail(fmt.Sprintf("%s; the clock here is %v off", who.ARN, who.Skew.Round(time.Second)), "set it, for instance with `chronyc makestep`")
	case who.Skew != 0:
		return warn(fmt.Sprintf("%s; the clock here is %v off", who.ARN, who.Skew.Round(time.Second)), "set it, for instance with `chronyc makestep`")
	}
	return ok("%s; the clock is right", who.ARN)
}

// credential gets what is logged in with.
func (e *examination) credential(ctx context.Context) Check {
	var p credentials.Provider
	switch {
	case e.cfg.Credentials != nil:
		p = struct{ credentials.Provider }{e.cfg.Credentials}
	case e.cfg.Auth == driver.AuthIAM:
		p = awscreds.NewIAM(awscreds.IAMConfig{Config: e.awsConfig()})
	case e.cfg.Auth == driver.AuthIAMSTS:
		sts, err := awscreds.NewSTS(awscreds.STSConfig{Config: e.awsConfig(), Audience: e.cfg.IAMAudience})
		if err != nil {
			e.unusable = true
			return failedWith(err)
		}
		p = sts
	case e.cfg.Auth == driver.AuthSecret:
		secrets, err := awscreds.NewSecrets(awscreds.SecretsConfig{
			Config: e.awsConfig(), SecretID: e.cfg.SecretID, HostRegion: rdsname.Region(e.cfg.Conn.Host),
		})
		if err != nil {
			e.unusable = true
			return failedWith(err)
		}
		p = secrets
	case e.cfg.Conn.Password == "":
		return warn("no password was found", "set PGPASSWORD or write it to the password file, unless the server asks for none; or set auth=iam or auth=secret")
	default:
		return ok("a password for user %s", e.cfg.Conn.User)
	}
	c, err := p.Credential(ctx, e.target(), nil)
	if closing := credentials.Close(p); err == nil {
		err = closing
	}
	if err != nil {
		e.unusable = true
		return failedWith(err)
	}
	user := c.User
	if user == "" {
		user = e.cfg.Conn.User
	}
	return ok("user %s, by %s", user, orOwn(c.Label))
}

func orOwn(label string) string {
	if label == "" {
		return "the Config's own provider"
	}
	return label
}

// failedWith takes an error of awscreds apart.
func failedWith(err error) Check {
	var e *awscreds.Error
	if !errors.As(err, &e) {
		return Check{Status: Failed, Found: err.Error()}
	}
	short := *e
	short.Remedy = ""
	return Check{Status: Failed, Found: short.Error(), Remedy: e.Remedy}
}
