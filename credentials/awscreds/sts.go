package awscreds

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/fairlead-go/fairlead/credentials"
)

// The form of the tokens that [NewSTS] makes: STSPrefix, and in base64 (URL, without padding) the URL of a presigned GetCallerIdentity, in
// which STSAudienceHeader is signed too.
const (
	STSPrefix         = "fairlead-aws-v1."
	STSAudienceHeader = "X-Fairlead-Audience"
)

// STSConfig is what [NewSTS] makes a provider of. Audience is required.
type STSConfig struct {
	Config
	// Audience is whom the tokens are for: the iam_audience of a pooler's cluster. Nobody else can use one.
	Audience string
}

// NewSTS returns a provider of tokens by which a pooler learns from AWS's STS which role this process has. Nothing is asked of AWS before
// the first login, and no permission is needed.
func NewSTS(cfg STSConfig) (*IAM, error) {
	if err := CheckAudience(cfg.Audience); err != nil {
		return nil, fmt.Errorf("awscreds: Audience %q: it must be the iam_audience of the pooler's cluster: %w", cfg.Audience, err)
	}
	i := newIAM(IAMConfig{Config: cfg.Config, SignFor: func(t credentials.Target) credentials.Target { return t }})
	i.make = func(ctx context.Context, by signing) (*credentials.Credential, error) {
		return identityToken(ctx, by, cfg.Audience)
	}
	i.lost = func(t credentials.Target) error {
		return &Error{
			Reason: TokenRefused, Op: fmt.Sprintf("log in to %s with a token for %q", t, cfg.Audience), Err: credentials.ErrExhausted,
			Remedy: fmt.Sprintf("in the pooler's file: iam_audience: %s, and this role with user %q in iam_roles; its log has the reason with debug_logging", cfg.Audience, t.User),
		}
	}
	return i, nil
}

// CheckAudience refuses what cannot be an audience: it is a name of up to 128 letters, digits and ._:/-.
func CheckAudience(name string) error {
	if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/-") != "" {
		return errors.New("not a name of letters, digits and ._:/-")
	}
	return nil
}

// identityToken presigns a question to STS.
func identityToken(ctx context.Context, by signing, audience string) (*credentials.Credential, error) {
	creds := by.creds
	client := sts.NewFromConfig(by.cfg, func(o *sts.Options) {
		o.Region = by.region
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })
	})
	signed, err := sts.NewPresignClient(client).PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.Presigner = presigner{by.at}
		o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(
			smithyhttp.SetHeaderValue(STSAudienceHeader, audience), smithyhttp.SetHeaderValue("X-Amz-Expires", strconv.Itoa(int(tokenLife.Seconds())))))
	})
	if err != nil {
		return nil, classify("sign a token for "+audience, "", err)
	}
	return &credentials.Credential{
		User: by.to.User, Password: credentials.NewSecret(STSPrefix + base64.RawURLEncoding.EncodeToString([]byte(signed.URL))), Bearer: true,
		Label: fmt.Sprintf("STS token for %q in %s", audience, by.region),
	}, nil
}

// presigner signs for a time of ours: the local clock may be wrong.
type presigner struct{ at time.Time }

// PresignHTTP implements [sts.HTTPPresignerV4].
func (p presigner) PresignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, _ time.Time,
	optFns ...func(*v4.SignerOptions)) (string, http.Header, error) {
	return v4.NewSigner().PresignHTTP(ctx, creds, r, payloadHash, service, region, p.at.UTC(), optFns...)
}
