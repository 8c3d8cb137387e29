// Package credentials says what to log in to a database instance with.
//
//	cfg, err := driver.ParseConfig("postgres://app@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app?sslmode=verify-full")
//	if err != nil {
//		return err
//	}
//	cfg.Credentials = credentials.Func(func(ctx context.Context, t credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
//		password, err := fromVault(ctx, t.User)
//		if err != nil {
//			return nil, err
//		}
//		return &credentials.Credential{User: t.User, Password: credentials.NewSecret(password)}, nil
//	})
//
// A [Provider] is asked at each login, for the instance that is about to be dialled, and is told which of its answers the
// server has refused in this login. [Static] and [Func] are the simplest ones, [Chain] asks several, and [Paced] keeps
// logins under a rate. Package awscreds has those for IAM tokens and AWS Secrets Manager.
//
// A [Cache] is what a provider is made of whose credentials cost something: a cached one is read without a lock, it is renewed in
// the background before its end, and fetched once however many ask.
//
// Nothing here prints a password: a [Secret] is xxxxx in every format, in JSON and in logs.
package credentials
