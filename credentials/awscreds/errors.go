package awscreds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/fairlead-go/fairlead/credentials"
)

// Reason is what was wrong.
type Reason string

// The reasons. What may pass by itself is wrapped in a [*credentials.UnavailableError].
const (
	NoAWSCredentials  Reason = "no AWS credentials"            // the SDK found none, or could not fetch them
	BadAWSCredentials Reason = "AWS credentials refused"       // unknown, ended or malformed
	ClockWrong        Reason = "clock wrong"                   // AWS refused the time of the request
	NoRegion          Reason = "no region"                     // nothing says which
	RegionMismatch    Reason = "region mismatch"               // two things say different ones
	AccessDenied      Reason = "access denied"                 // to the secret
	KMSDenied         Reason = "KMS key denied"                // to the key that the secret is encrypted with
	NotFound          Reason = "secret not found"              // not in this region and account
	Deleted           Reason = "secret deleted"                // it is scheduled for deletion
	Throttled         Reason = "throttled"                     // too many requests; may pass
	Unreachable       Reason = "AWS unreachable"               // or failing; may pass
	BadSecret         Reason = "secret unusable"               // binary, no JSON, or keys are missing
	TokenRefused      Reason = "IAM token refused"             // by the database, twice
	PasswordRefused   Reason = "every version refused"         // by the database
	Other             Reason = "refused for some other reason" // by AWS; the text says why
)

// Error says what failed, why, and what mends it. It holds no secret.
type Error struct {
	Reason Reason
	Op     string // what was tried, such as `read secret "prod/app" in region eu-west-1`
	Remedy string
	Err    error // what AWS or the SDK said; may be nil
}

// Error is one line with all of it.
func (e *Error) Error() string {
	text := "awscreds: " + e.Op + ": " + string(e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		text += " (" + e.Remedy + ")"
	}
	return text
}

// Unwrap returns what AWS or the SDK said.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf is the reason in an error of this package, or "".
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// classify makes an Error of one of the SDK's.
func classify(op, arn string, err error) error {
	e := &Error{Reason: reasonFor(err), Op: op, Err: err}
	e.Remedy = remedy(e.Reason, arn)
	switch e.Reason {
	case Throttled, Unreachable:
		return &credentials.UnavailableError{Err: e}
	case NoAWSCredentials:
		// Containers and instances get theirs over the network.
		var api smithy.APIError
		var status *awshttp.ResponseError
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &status) && !errors.As(err, &api) {
			return &credentials.UnavailableError{Err: e}
		}
	}
	return e
}

// reasonsByCode are AWS's error codes, each with the reason.
var reasonsByCode = map[string]Reason{
	"ResourceNotFoundException":   NotFound,
	"DecryptionFailure":           KMSDenied,
	"InvalidRequestException":     Deleted,
	"ThrottlingException":         Throttled,
	"Throttling":                  Throttled,
	"TooManyRequestsException":    Throttled,
	"RequestLimitExceeded":        Throttled,
	"InternalServiceError":        Unreachable,
	"InternalFailure":             Unreachable,
	"ServiceUnavailable":          Unreachable,
	"UnrecognizedClientException": BadAWSCredentials,
	"InvalidClientTokenId":        BadAWSCredentials,
	"ExpiredTokenException":       BadAWSCredentials,
	"ExpiredToken":                BadAWSCredentials,
	"IncompleteSignature":         BadAWSCredentials,
	"MissingAuthenticationToken":  BadAWSCredentials,
	"RequestExpired":              ClockWrong,
	"RequestTimeTooSkewed":        ClockWrong,
}

func reasonFor(err error) Reason {
	var region *aws.MissingRegionError
	if errors.As(err, &region) || strings.Contains(err.Error(), "Missing Region") || strings.Contains(err.Error(), "Invalid Configuration: Missing Region") {
		return NoRegion
	}
	var signing interface{ IsSigningError() bool }
	if strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "failed to refresh cached credentials") || errors.As(err, &signing) {
		return NoAWSCredentials
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		code, text := api.ErrorCode(), api.ErrorMessage()
		switch {
		case code == "AccessDeniedException" || code == "AccessDenied":
			if strings.Contains(strings.ToLower(text), "kms") {
				return KMSDenied
			}
			return AccessDenied
		case strings.HasPrefix(code, "InvalidSignature") || code == "SignatureDoesNotMatch":
			if strings.Contains(text, "expired") || strings.Contains(text, "not yet current") {
				return ClockWrong
			}
			return BadAWSCredentials
		}
		if r, ok := reasonsByCode[code]; ok {
			return r
		}
	}
	var status *awshttp.ResponseError
	if errors.As(err, &status) {
		switch code := status.HTTPStatusCode(); {
		case code == http.StatusTooManyRequests:
			return Throttled
		case code >= 500, code == 0: // 0: there was no answer
			return Unreachable
		}
		return Other
	}
	var send interface{ ConnectionError() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &send) {
		return Unreachable
	}
	if api == nil {
		return Unreachable // it never got to an answer
	}
	return Other
}

// remedy is what mends it.
func remedy(r Reason, arn string) string {
	if arn == "" {
		arn = "<ARN of the secret>"
	}
	switch r {
	case NoAWSCredentials:
		return "give the process a role, or set AWS_PROFILE or aws_profile; `aws sts get-caller-identity` shows what the SDK finds"
	case BadAWSCredentials:
		return "`aws sts get-caller-identity` shows whether they still work; renew them"
	case ClockWrong:
		return "set this machine's clock, for instance with `chronyc makestep`"
	case NoRegion:
		return "set aws_region in the DSN, or AWS_REGION"
	case AccessDenied:
		return `allow it: {"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"` + arn + `"}`
	case KMSDenied:
		return `allow it in the key's policy and in the role's: {"Effect":"Allow","Action":"kms:Decrypt","Resource":"<ARN of the key>"}`
	case NotFound:
		return "check secret_id, and whether aws_region and the account are those of the secret"
	case Deleted:
		return fmt.Sprintf("`aws secretsmanager restore-secret --secret-id %s`, if it was deleted by mistake", arn)
	case Throttled:
		return "it is tried again; raise the quota for GetSecretValue if this lasts"
	case Unreachable:
		return "it is tried again; in a VPC without a way out an interface endpoint for Secrets Manager is needed"
	}
	return ""
}
