package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"wherry/orchestrator/pki"
	"wherry/proto/nodelink"
)

func newToken(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	token := &cobra.Command{Use: "token", Short: "Make, list and delete tokens by which machines join the cluster"}
	token.AddCommand(newTokenCreate(f, streams), newTokenList(f, streams), newTokenDelete(f, streams))
	return token
}

func newTokenCreate(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	var life time.Duration
	var description string
	c := &cobra.Command{
		Use: "create", Short: "Make a token and print it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			client, config, err := clients(f)
			if err != nil {
				return err
			}
			hash, err := caHash(config)
			if err != nil {
				return err
			}
			t := pki.NewToken(hash)
			_, err = client.CoreV1().Secrets(pki.TokenNamespace).Create(c.Context(), pki.TokenSecret(t, life, description), metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("making the token known to the cluster: %w", err)
			}
			fmt.Fprintln(streams.Out, t)
			return nil
		},
	}
	c.Flags().DurationVar(&life, "ttl", 24*time.Hour, "how long the token is good; 0: for ever")
	c.Flags().StringVar(&description, "description", "", "what the token is for")
	return c
}

func newTokenList(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens, without their secrets", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			client, _, err := clients(f)
			if err != nil {
				return err
			}
			secrets, err := client.CoreV1().Secrets(pki.TokenNamespace).List(c.Context(), metav1.ListOptions{FieldSelector: "type=" + string(pki.TokenSecretType)})
			if err != nil {
				return fmt.Errorf("listing tokens: %w", err)
			}
			w := tabwriter.NewWriter(streams.Out, 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "ID\tEXPIRES\tDESCRIPTION")
			for _, s := range secrets.Items {
				expires := string(s.Data["expiration"])
				if expires == "" {
					expires = "never"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Data["token-id"], expires, s.Data["description"])
			}
			return w.Flush()
		},
	}
}

func newTokenDelete(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Short: "Delete a token: nobody can join with it any more", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, _, err := clients(f)
			if err != nil {
				return err
			}
			id := args[0]
			if t, err := nodelink.ParseToken(id); err == nil {
				id = t.ID
			}
			if err := client.CoreV1().Secrets(pki.TokenNamespace).Delete(c.Context(), pki.TokenSecretName(id), metav1.DeleteOptions{}); err != nil {
				return fmt.Errorf("deleting the token: %w", err)
			}
			fmt.Fprintf(streams.Out, "token %s deleted\n", id)
			return nil
		},
	}
}

func clients(f cmdutil.Factory) (kubernetes.Interface, *rest.Config, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	return client, config, err
}

// caHash is the hash of the cluster's CA as the kubeconfig knows it.
func caHash(config *rest.Config) (string, error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return "", fmt.Errorf("reading the kubeconfig's CA: %w", err)
	}
	block, _ := pem.Decode(config.CAData)
	if block == nil || !strings.Contains(block.Type, "CERTIFICATE") {
		return "", errors.New("the kubeconfig names no certificate-authority: use the cluster's admin.kubeconfig")
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig's CA: %w", err)
	}
	return nodelink.KeyHash(ca.RawSubjectPublicKeyInfo), nil
}
