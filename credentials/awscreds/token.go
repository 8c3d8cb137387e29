package awscreds

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/fairlead-go/fairlead/credentials"
)

// tokenLife is how long RDS accepts a token.
const tokenLife = 15 * time.Minute

// emptyHash is the SHA-256 of nothing, in hexadecimal: the payload of the request that a token is.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sign makes the token that the SDK's feature/rds/auth would make at that time. It is made here because that package
// takes the time from the local clock, which may be wrong.
func sign(ctx context.Context, t credentials.Target, region string, creds aws.Credentials, at time.Time) (string, error) {
	u := url.URL{
		Scheme: "https", Host: net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))),
		RawQuery: url.Values{
			"Action": {"connect"}, "DBUser": {t.User}, "X-Amz-Expires": {strconv.Itoa(int(tokenLife.Seconds()))},
		}.Encode(),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("awscreds: sign a token for %s: %w", t, err)
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, req, emptyHash, "rds-db", region, at.UTC())
	if err != nil {
		return "", fmt.Errorf("awscreds: sign a token for %s: %w", t, err)
	}
	return strings.TrimPrefix(signed, "https://"), nil
}
