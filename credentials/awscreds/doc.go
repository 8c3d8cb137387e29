// Package awscreds logs in with IAM tokens and with secrets of AWS Secrets Manager.
//
//	cfg, err := driver.ParseConfig("postgres://app@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app")
//	if err != nil {
//		return err
//	}
//	secrets, err := awscreds.NewSecrets(awscreds.SecretsConfig{SecretID: "prod/app"})
//	if err != nil {
//		return err
//	}
//	defer secrets.Close()
//	cfg.Credentials = secrets
//
// With auth=iam or auth=secret in its DSN the driver makes these providers itself.
//
// [IAM] signs a token for the host that is dialled, uses it for less than its 15 minutes, and signs the next one ahead. A
// refused token is signed anew once, after the AWS credentials were fetched again and the clock was compared with AWS's.
//
// [Secrets] reads a secret once, reads it again in the background about every hour, and serves it while Secrets Manager is
// out of reach. When a server refuses the password, the secret is read at once, and the versions AWSPENDING and
// AWSPREVIOUS are tried too, so that no moment of a rotation is without a password that works.
package awscreds
