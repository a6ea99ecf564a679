// Package orchestrator is the control plane. This file is the only one that knows all of
// its parts: New puts them together, Run runs them.
//
//	apiserver  scheduler  controller/*  downlink      read state, write state
//	                state                             objects, one copy in memory
//	         resource   store                         kinds; keys and bytes
package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/admission/policy"
	"wherry/orchestrator/apiserver/admission/webhook"
	"wherry/orchestrator/apiserver/aggregate"
	"wherry/orchestrator/apiserver/audit"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/auth/node"
	"wherry/orchestrator/apiserver/auth/rbac"
	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/accounttoken"
	"wherry/orchestrator/controller/apiservice"
	"wherry/orchestrator/controller/clusterrole"
	"wherry/orchestrator/controller/cronjob"
	"wherry/orchestrator/controller/csr"
	"wherry/orchestrator/controller/customresource"
	"wherry/orchestrator/controller/daemonset"
	"wherry/orchestrator/controller/deployment"
	"wherry/orchestrator/controller/disruption"
	"wherry/orchestrator/controller/endpointslice"
	"wherry/orchestrator/controller/frontproxy"
	"wherry/orchestrator/controller/garbage"
	"wherry/orchestrator/controller/ipaddress"
	"wherry/orchestrator/controller/job"
	"wherry/orchestrator/controller/namespace"
	"wherry/orchestrator/controller/nodehealth"
	"wherry/orchestrator/controller/policystatus"
	"wherry/orchestrator/controller/replicaset"
	"wherry/orchestrator/controller/resourcequota"
	"wherry/orchestrator/controller/serviceaccount"
	"wherry/orchestrator/controller/statefulset"
	"wherry/orchestrator/controller/volumeprotection"
	"wherry/orchestrator/conversion"
	"wherry/orchestrator/downlink"
	"wherry/orchestrator/ociregistry"
	"wherry/orchestrator/pki"
	"wherry/orchestrator/reach"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/scheduler"
	"wherry/orchestrator/snapshot"
	"wherry/orchestrator/state"
	"wherry/orchestrator/state/event"
	"wherry/orchestrator/store/boltstore"
	"wherry/orchestrator/store/metered"
	"wherry/orchestrator/store/sealed"
	"wherry/orchestrator/token"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Config configures a control plane. DataDir, Listener and PacketConn are required.
type Config struct {
	// DataDir holds all state. Nothing is written outside of it.
	DataDir string
	// Listener serves the API over TLS, PacketConn the nodes over QUIC. Both are closed by Run.
	Listener   net.Listener
	PacketConn net.PacketConn
	// Hosts are further names and addresses that the server is reached by.
	Hosts []string
	// Blocks of the cluster's addresses; zero means 10.43.0.0/16 and 10.42.0.0/16. Each node
	// gets a block of PodCIDR.
	ServiceCIDR, PodCIDR netip.Prefix
	// Issuers are URLs that service-account tokens name: the first is written, all are accepted. None means
	// https://kubernetes.default.svc.cluster.local.
	Issuers []string
	// Encrypt names the resources whose objects are encrypted at rest, as in "secrets" and "widgets.example.com"; "*" is
	// all. nil means secrets, an empty slice none.
	Encrypt []string
	// OIDC says whose OpenID Connect tokens are believed; nil: nobody's.
	OIDC *auth.OIDCConfig
	// SnapshotEvery is how often a snapshot is made in DataDir/snapshots, where SnapshotKeep of them
	// are kept; 0: never, and 1.
	SnapshotEvery time.Duration
	SnapshotKeep  int
	// APIOnly serves the API with its admission and lets nothing act on what is written: no
	// scheduler, and no controllers but those that are a part of the API (custom resources).
	APIOnly bool
	// AuditLog is the file that requests to the API are noted in; relative to DataDir; "": none. AuditPolicy is a
	// file that says which and how; "": audit.DefaultPolicy. Zero bounds are audit's.
	AuditLog, AuditPolicy string
	AuditMaxBytes         int64
	AuditMaxFiles         int
	// NoProfiling leaves out /debug/pprof.
	NoProfiling bool
	Version     string // of this program, for logs and snapshots
	Logger      *slog.Logger
}

func (c *Config) fill() error {
	switch {
	case c.DataDir == "":
		return errors.New("orchestrator: DataDir is empty")
	case c.Listener == nil || c.PacketConn == nil:
		return errors.New("orchestrator: Listener and PacketConn are needed")
	}
	if !c.ServiceCIDR.IsValid() {
		c.ServiceCIDR = netip.MustParsePrefix("10.43.0.0/16")
	}
	if !c.PodCIDR.IsValid() {
		c.PodCIDR = netip.MustParsePrefix("10.42.0.0/16")
	}
	if c.Encrypt == nil {
		c.Encrypt = []string{"secrets"}
	}
	if len(c.Issuers) == 0 {
		c.Issuers = []string{"https://kubernetes.default.svc.cluster.local"}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// apiIP and dnsIP are the first and tenth address of the Services' block, by custom.
func (c *Config) apiIP() netip.Addr { return c.ServiceCIDR.Masked().Addr().Next() }

func (c *Config) dnsIP() netip.Addr {
	ip := c.ServiceCIDR.Masked().Addr()
	for range 10 {
		ip = ip.Next()
	}
	return ip
}

// Orchestrator is a control plane. See New.
type Orchestrator struct {
	config   Config
	log      *slog.Logger
	webhooks reach.Webhooks
	store    *metered.Store
	sealed   *sealed.Store // over store
	state    *state.State
	pki      *pki.PKI
	tokens   *token.Tokens
	// roles and authorizer say who may do what. Admission asks them, too: they find the state when they are asked.
	roles      *rbac.Authorizer
	authorizer auth.Authorizer
	registry   *ociregistry.Registry
	snapshots  *snapshot.Folder
	events     *event.Writer
	downlink   *downlink.Downlink
	api        *apiserver.Server
	aggregator *aggregate.Aggregator
	queues     *controller.Metrics
	attempts   *attempts
	outside    *admission.Gate // to webhooks and policies
	audit      *audit.Log      // nil: none
}

// New opens the data directory and puts the parts together. Nothing runs before Run. Errors name
// the file and what to do.
func New(ctx context.Context, c Config) (*Orchestrator, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	o := &Orchestrator{config: c, log: c.Logger}
	if err := o.open(ctx); err != nil {
		return nil, errors.Join(err, o.closeStores())
	}
	return o, nil
}

// open opens what is kept on disk, from the ground up.
func (o *Orchestrator) open(ctx context.Context) error {
	c := &o.config
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	kinds := resource.NewWith(resource.Options{ServiceCIDR: c.ServiceCIDR, PodCIDR: c.PodCIDR, Convert: (&conversion.Webhooks{Post: &o.webhooks}).Convert})
	secrets, err := encrypted(c.Encrypt, kinds)
	if err != nil {
		return err
	}
	st, err := boltstore.Open(statePath(c.DataDir), boltstore.Options{Logger: o.log})
	if err != nil {
		return fmt.Errorf("opening the state: %w", err)
	}
	o.store = metered.New(st)
	if o.pki, err = pki.Open(filepath.Join(c.DataDir, "pki"), pki.Options{Hosts: c.hosts(), ServiceIP: c.apiIP().AsSlice()}); err != nil {
		return fmt.Errorf("opening the certificate authority: %w", err)
	}
	if o.registry, err = ociregistry.New(filepath.Join(c.DataDir, "registry"), ociregistry.Options{Logger: o.log}); err != nil {
		return fmt.Errorf("opening the registry: %w", err)
	}
	o.openSnapshots(st)
	o.sealed = sealed.New(o.store, o.pki.Sealer(), secrets)
	managers, err := apiserver.NewManagers(kinds)
	if err != nil {
		return err
	}
	whole := func() *state.State { return o.state }
	o.roles = rbac.New(whole)
	o.authorizer = auth.InOrder{auth.Builtin{}, node.New(whole), o.roles}
	if o.state, err = state.Open(ctx, o.sealed, state.Options{Kinds: kinds, Admission: admission.Default(o.guards(managers)...), Managers: managers}); err != nil {
		return fmt.Errorf("reading the state: %w", err)
	}
	return o.assemble()
}

// mayAsk says whether a user may create a subresource of certificatesigningrequests.
func (o *Orchestrator) mayAsk(ctx context.Context, user *authenticationv1.UserInfo, subresource string) (bool, error) {
	decision, _, err := o.authorizer.Authorize(ctx, &auth.Attributes{
		User: auth.UserOf(user), Verb: "create", Resource: true, Group: certificatesv1.GroupName, Version: "*",
		Plural: "certificatesigningrequests", Subresource: subresource})
	return decision == auth.Allow, err
}

// guards are the rules of admission that ask who may do what.
func (o *Orchestrator) guards(managers *apiserver.Managers) []any {
	hooks := webhook.New(webhook.Config{Post: &o.webhooks, Authorizer: o.authorizer, Logger: o.log})
	o.outside = admission.NewGate(
		policy.NewMutating(o.authorizer, managers.Types), hooks.Mutating(), policy.NewValidating(o.authorizer), hooks.Validating())
	return []any{
		admission.NodeRestriction{Authorizer: o.authorizer}, admission.Certificates{Authorizer: o.authorizer},
		rbac.Guard{Authorizer: o.authorizer, Roles: o.roles},
		policy.Compiles{}, o.outside,
	}
}

// assemble makes the parts that stand on state.
func (o *Orchestrator) assemble() error {
	o.events = event.New(o.state, o.log)
	o.tokens = token.New(token.Config{
		State: o.state, Issuers: o.config.Issuers, Audiences: o.config.Issuers, KeysURL: o.keysURL(), Keys: o.pki.TokenKeys().Signers,
	})
	o.downlink = downlink.New(downlink.Config{
		State: o.state, PKI: o.pki, Registry: o.registry, Tokens: o.tokens, Logger: o.log, Version: o.config.Version,
		PodCIDR: o.config.PodCIDR.String(), ServiceCIDR: o.config.ServiceCIDR.String(), DNSAddress: o.config.dnsIP().String(),
	})
	services := &reach.Dialer{State: o.state, Nodes: o.downlink}
	o.webhooks.Dial = services.Dial
	o.aggregator = aggregate.New(aggregate.Config{
		State: o.state, Dial: services.Dial, Certificate: o.pki.FrontProxy().Certificate, Logger: o.log,
	})
	if err := o.openAudit(); err != nil {
		return err
	}
	bearer, err := o.bearer()
	if err != nil {
		return err
	}
	o.api, err = apiserver.New(apiserver.Config{
		State: o.state, Nodes: o.downlink, Registry: o.registry, Snapshots: o.snapshots.Handler(), Logger: o.log,
		Tokens: o.tokens, Bearer: bearer, Keys: newKeys(o),
		Audit: o.audit, Live: []apiserver.Check{{Name: "store", Run: o.state.Check}}, Metrics: o.collectors(), Profiling: !o.config.NoProfiling,
		Authorizer: o.authorizer, Aggregator: o.aggregator,
	})
	return err
}

// bearer are the kinds of bearer tokens that are believed.
func (o *Orchestrator) bearer() (auth.Bearer, error) {
	audiences := o.tokens.Audiences
	all := auth.Bearer{auth.ServiceAccounts{Tokens: o.tokens}, auth.Bootstrap{State: o.state, Audiences: audiences, Check: pki.CheckToken}}
	if o.config.OIDC == nil {
		return all, nil
	}
	c := *o.config.OIDC
	c.Audiences = audiences
	oidc, err := auth.NewOIDC(c)
	return append(all, oidc), err
}

// keysURL is where this server shows the keys of service-account tokens.
func (o *Orchestrator) keysURL() string {
	host := "kubernetes.default.svc.cluster.local"
	if ip, ok := o.advertised(); ok {
		host = net.JoinHostPort(ip.String(), strconv.Itoa(o.port()))
	}
	return "https://" + host + "/openid/v1/jwks"
}

// openAudit prepares the audit log.
func (o *Orchestrator) openAudit() error {
	c := &o.config
	if c.AuditLog == "" {
		return nil
	}
	if !filepath.IsAbs(c.AuditLog) {
		c.AuditLog = filepath.Join(c.DataDir, c.AuditLog)
	}
	config := audit.Config{Path: c.AuditLog, MaxBytes: c.AuditMaxBytes, MaxFiles: c.AuditMaxFiles, Logger: o.log}
	if c.AuditPolicy != "" {
		var err error
		if config.Policy, err = audit.ReadPolicy(c.AuditPolicy); err != nil {
			return err
		}
	}
	o.audit = audit.New(config)
	return nil
}

// hosts is what the server's certificate is good for beside its usual names.
func (c *Config) hosts() []string {
	host, _, err := net.SplitHostPort(c.Listener.Addr().String())
	if err != nil {
		return c.Hosts // an in-memory listener
	}
	return append([]string{host}, c.Hosts...)
}

func (o *Orchestrator) port() int {
	_, port, err := net.SplitHostPort(o.config.Listener.Addr().String())
	if err != nil {
		return 6443 // an in-memory listener
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 6443
	}
	return n
}

// advertised is an address of this server that is no loopback.
func (o *Orchestrator) advertised() (netip.Addr, bool) {
	host, _, err := net.SplitHostPort(o.config.Listener.Addr().String())
	if err != nil {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsLoopback() {
		return netip.Addr{}, false
	}
	if !ip.IsUnspecified() {
		return ip.Unmap(), ip.Unmap().Is4()
	}
	return machineIP()
}

// machineIP is the machine's first IPv4 address that others could reach.
func machineIP() (netip.Addr, bool) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// Run runs the control plane until ctx ends, and closes everything. ready is called once, when
// the API answers; it may be nil.
func (o *Orchestrator) Run(ctx context.Context, ready func()) error {
	below, stop := context.WithCancel(context.WithoutCancel(ctx)) // state outlives its readers
	defer stop()
	following, _ := errgroup.WithContext(below)
	following.Go(func() error { return o.state.Run(below) })
	if o.audit != nil {
		following.Go(func() error { return o.audit.Run(below) }) // to the end of the last request
	}
	err := o.bootstrap(state.As(ctx, state.ManagerAPIServer))
	if err == nil {
		o.outside.Open()
		err = o.run(ctx, ready)
	}
	stop()
	return errors.Join(err, following.Wait(), o.closeStores())
}

func (o *Orchestrator) run(ctx context.Context, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	nodes, err := link.ListenQUIC(o.config.PacketConn, o.pki.ServerTLS(), link.Options{ResetKey: o.pki.ResetKey()})
	if err != nil {
		return fmt.Errorf("listening for nodes: %w", err)
	}
	group.Go(func() error { return o.api.Run(ctx, o.config.Listener, o.pki.ServerTLS()) })
	group.Go(func() error { return o.downlink.Run(state.As(ctx, state.ManagerKubelet), nodes) })
	group.Go(func() error { return o.events.Run(ctx) })
	group.Go(func() error { return o.reseal(ctx) })
	group.Go(func() error { return o.snapshots.Run(ctx) })
	group.Go(func() error {
		return controller.Run(state.As(ctx, state.ManagerAPIServer), o.state, o.log, o.queues, o.served()...)
	})
	if !o.config.APIOnly {
		group.Go(func() error {
			return controller.Run(state.As(ctx, state.ManagerController), o.state, o.log, o.queues, o.controllers()...)
		})
		group.Go(func() error {
			return scheduler.New(scheduler.Config{State: o.state, Logger: o.log, Recorder: o.events.Recorder(corev1.DefaultSchedulerName, state.ManagerScheduler), Attempts: o.attempts.count}).Run(state.As(ctx, state.ManagerScheduler))
		})
	}
	if ready != nil {
		ready()
	}
	return group.Wait()
}

// served are the controllers that the API is not whole without: definitions are served by one.
func (o *Orchestrator) served() []controller.Controller {
	return []controller.Controller{
		customresource.New(o.state), ipaddress.New(o.state), apiservice.NewLocal(o.state, o.api.GroupVersions()...),
		frontproxy.New(frontproxy.Config{
			State: o.state, ClientCA: o.pki.CA(), ProxyCA: o.pki.FrontProxy().CA(), ProxyName: pki.FrontProxyName,
		}),
		apiservice.NewAvailability(o.state, o.aggregator.Check),
	}
}

func (o *Orchestrator) controllers() []controller.Controller {
	events := func(component string) controller.Events { return o.events.Recorder(component, state.ManagerController) }
	all := []controller.Controller{
		deployment.New(o.state, events("deployment-controller")),
		replicaset.New(o.state, events("replicaset-controller")),
		replicaset.NewReplicationController(o.state, events("replication-controller")),
		statefulset.New(o.state, events("statefulset-controller")),
		daemonset.New(o.state, events("daemonset-controller")),
		job.New(o.state, events("job-controller")),
		cronjob.New(o.state, events("cronjob-controller")),
		endpointslice.New(o.state),
		garbage.New(o.state),
		namespace.New(o.state),
		nodehealth.New(o.state, events("node-controller"), o.downlink.LastHeard),
		serviceaccount.New(o.state, o.pki.CA()),
		accounttoken.New(accounttoken.Config{State: o.state, CA: o.pki.CA(), Make: o.tokens.ForSecret}),
		clusterrole.New(o.state),
		csr.New(csr.Config{State: o.state, Authority: o.pki, May: o.mayAsk}),
		resourcequota.New(o.state),
		policystatus.New(o.state, func(p *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
			return policy.TypeCheck(o.state.Kinds(), p)
		}),
	}
	all = append(all, disruption.New(o.state, events("controllermanager"))...)
	return append(all, volumeprotection.New(o.state)...)
}

func (o *Orchestrator) closeStores() error {
	var errs []error
	if o.registry != nil {
		errs = append(errs, o.registry.Close())
	}
	if o.store != nil {
		errs = append(errs, o.store.Close())
	}
	return errors.Join(errs...)
}

// Address is where the API listens.
func (o *Orchestrator) Address() net.Addr { return o.config.Listener.Addr() }

// AdminKubeconfig makes a kubeconfig for the administrator, for the server's URL.
func (o *Orchestrator) AdminKubeconfig(server string) ([]byte, error) {
	return o.pki.Kubeconfig(server, "admin", "system:masters")
}

// JoinToken makes a token that is not written down anywhere but in the state: for the agent of the same process.
func (o *Orchestrator) JoinToken(ctx context.Context, description string) (nodelink.Token, error) {
	const life = 10 * 60 * 1e9 // ten minutes
	t := pki.NewToken(o.pki.CAHash())
	_, err := state.Create(state.As(ctx, "wherry"), o.state, pki.TokenSecret(t, life, description))
	return t, err
}

// ReleaseNode lets a machine with another key join under a node's name, which is otherwise kept for the machine that has
// it: for whoever knows that this machine is gone. A node that does not exist is no error.
func (o *Orchestrator) ReleaseNode(ctx context.Context, name string) error {
	_, err := state.Update(state.As(ctx, "wherry"), o.state, "", name, func(n *corev1.Node) error {
		delete(n.Annotations, downlink.KeyAnnotation)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("releasing the name of node %s: %w", name, err)
	}
	return nil
}

// NodeReady waits until the node's condition Ready is True.
func (o *Orchestrator) NodeReady(ctx context.Context, name string) error {
	kind, _ := o.state.Kinds().For(&corev1.Node{})
	w, err := o.state.Watch(ctx, kind, state.WatchOptions{Initial: true, Selector: state.Selector{Name: name}})
	if err != nil {
		return fmt.Errorf("waiting for node %s: %w", name, err)
	}
	defer w.Close()
	for {
		events, _, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("waiting for node %s: %w", name, err)
		}
		for _, e := range events {
			if e.Entry != nil && e.Type != state.Deleted && isReady(e.Entry.Object().(*corev1.Node)) {
				return nil
			}
		}
	}
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
