package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"wherry/orchestrator/apiserver/auth"
)

// authFlags say who is believed; they are named as kube-apiserver's.
type authFlags struct {
	issuers []string
	oidc    auth.OIDCConfig
	caFile  string
}

func (f *authFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.issuers, "service-account-issuer", []string{"https://kubernetes.default.svc.cluster.local"},
		"issuers of service-account tokens, and the API's audiences; the first is written into new tokens, all are accepted")
	flags.StringVar(&f.oidc.IssuerURL, "oidc-issuer-url", "", "URL of the OpenID Connect issuer whose ID tokens are believed; https only")
	flags.StringVar(&f.oidc.ClientID, "oidc-client-id", "", "the client that ID tokens must be for")
	flags.StringVar(&f.caFile, "oidc-ca-file", "", "authorities that sign the issuer's certificate (PEM); the system's by default")
	flags.StringVar(&f.oidc.UsernameClaim, "oidc-username-claim", "sub", "the claim that is the user's name")
	flags.StringVar(&f.oidc.UsernamePrefix, "oidc-username-prefix", "", "put before user names; the issuer and # by default, except for the claim email; - for nothing")
	flags.StringVar(&f.oidc.GroupsClaim, "oidc-groups-claim", "", "the claim that holds the user's groups")
	flags.StringVar(&f.oidc.GroupsPrefix, "oidc-groups-prefix", "", "put before groups")
	flags.StringSliceVar(&f.oidc.SigningAlgs, "oidc-signing-algs", []string{"RS256"}, "algorithms that ID tokens may be signed with")
	flags.StringToStringVar(&f.oidc.RequiredClaims, "oidc-required-claim", nil, "claims that ID tokens must have, with their values")
}

// config is whose ID tokens are believed; nil: nobody's.
func (f *authFlags) config() (*auth.OIDCConfig, error) {
	c := f.oidc
	if c.IssuerURL+c.ClientID+c.UsernamePrefix+c.GroupsClaim+c.GroupsPrefix+f.caFile == "" && len(c.RequiredClaims) == 0 {
		return nil, nil
	}
	if f.caFile != "" {
		ca, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		c.CA = ca
	}
	return &c, nil
}
