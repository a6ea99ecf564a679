package main

import "github.com/spf13/pflag"

// auditFlags say what is noted of requests to the API. Their names are kube-apiserver's.
type auditFlags struct {
	path, policy       string
	maxSize, maxBackup int
}

func (f *auditFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.path, "audit-log-path", "audit/audit.log", "file that requests to the API are noted in, below the data directory if relative; empty: none")
	flags.StringVar(&f.policy, "audit-policy-file", "", "an audit.k8s.io/v1 Policy that says what is noted of which requests; without it who did what, and nothing of the objects")
	flags.IntVar(&f.maxSize, "audit-log-maxsize", 10, "megabytes of the audit log before it begins anew")
	flags.IntVar(&f.maxBackup, "audit-log-maxbackup", 5, "how many full audit logs are kept beside")
}
