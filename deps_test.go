package wherry_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A wall is what packages must not import, and why.
type wall struct {
	// deep: not through others either. Without it, what they import themselves counts.
	deep bool
	// not are packages, each with everything below it.
	not []string
	// but are exceptions, each with everything below it. The guarded package and what lies below it are one, too,
	// unless siblings says that packages below it must not import each other.
	but      []string
	siblings bool
	why      string
}

// Packages that make up something that many walls keep out.
var (
	kubernetes = []string{"k8s.io", "sigs.k8s.io"}
	machinery  = []string{
		"k8s.io/apimachinery/pkg/runtime/serializer", "k8s.io/apimachinery/pkg/util/managedfields",
		"k8s.io/apimachinery/pkg/util/strategicpatch", "k8s.io/apimachinery/pkg/util/mergepatch",
		"k8s.io/kube-openapi/pkg/builder3",
	}
	// metav1 itself brings its CBOR.
	types   = []string{"k8s.io/apimachinery/pkg/runtime/serializer/cbor"}
	servers = []string{"k8s.io/kubernetes", "k8s.io/apiserver", "k8s.io/client-go", "k8s.io/kubectl", "k8s.io/cli-runtime"}
	ours    = []string{"wherry"}
)

// walls are by package, with everything below it; several count when several fit.
var walls = map[string][]wall{
	"wherry": {
		{not: []string{"k8s.io/kubernetes"}, but: []string{"wherry/orchestrator/resource"},
			why: "Kubernetes' own defaults and validation are called in one place; internal types do not leave it"},
		{not: []string{"github.com/quic-go"}, but: []string{"wherry/proto/link"},
			why: "nothing outside of the link names QUIC"},
		{not: []string{"github.com/tetratelabs/wazero"}, but: []string{"wherry/wasm"},
			why: "nothing outside of the sandbox names its engine"},
		{not: []string{"go.etcd.io/bbolt"}, but: []string{"wherry/orchestrator/store/boltstore", "wherry/orchestrator/ociregistry", "wherry/nodeagent/journal"},
			why: "files are behind the store, the registry and the journal"},
		{not: []string{"k8s.io/kubectl", "k8s.io/cli-runtime"}, but: []string{"wherry/cmd/wherry"},
			why: "kubectl's commands cost 47 MB resident: they stay in the command"},
		{not: []string{"wherry/orchestrator", "wherry/nodeagent"}, but: []string{"wherry/cmd", "wherry/orchestrator", "wherry/nodeagent"},
			why: "the halves are put together by commands"},
	},
	"wherry/proto": {
		{deep: true, not: kubernetes, why: "the protocol carries bytes; both halves know what is in them"},
		{deep: true, not: ours, why: "the protocol knows neither half"},
	},
	"wherry/proto/nodelink": {
		{deep: true, not: []string{"wherry/proto/link"}, why: "messages do not know what carries them"},
	},
	"wherry/wasm": {
		{deep: true, not: slices.Concat(kubernetes, ours), why: "the sandbox is a library on its own and knows nothing of pods"},
		{deep: true, not: []string{"google.golang.org/protobuf", "github.com/quic-go"}, why: "the sandbox does not know how it was asked"},
	},
	"wherry/wasm/meter": {
		{not: slices.Concat(ours, []string{"github.com/tetratelabs/wazero", "os", "net"}), why: "rewriting is pure: bytes in, bytes out"},
	},
	"wherry/orchestrator": {
		{deep: true, not: ours, but: []string{"wherry/proto"}, why: "the control plane and the nodes share the protocol and nothing else"},
		{deep: true, not: servers, but: []string{"wherry/orchestrator/apiserver/admission/expression", "wherry/orchestrator/resource", "k8s.io/apiserver/pkg/apis/audit"}, why: "no generic server and no client is linked; what validation brings along is judged below"},
	},
	"wherry/orchestrator/store": {
		{deep: true, not: slices.Concat(kubernetes, ours), why: "the store knows keys and bytes"},
	},
	"wherry/orchestrator/ociregistry": {
		{deep: true, not: slices.Concat(kubernetes, ours), why: "the registry is a registry for anybody"},
	},
	"wherry/orchestrator/snapshot": {
		{deep: true, not: slices.Concat(kubernetes, ours), why: "a snapshot is files; the command checks one without a store"},
	},
	"wherry/orchestrator/pki": {
		{deep: true, not: ours, but: []string{"wherry/proto"}, why: "the authority keeps files and knows no other part"},
		{deep: true, not: machinery, but: types, why: "the authority knows the Secret of a token, not how it is stored"},
	},
	"wherry/orchestrator/resource": {
		{deep: true, not: ours, why: "kinds are the ground: they know nobody"},
		{deep: true, not: []string{"k8s.io/apiserver", "k8s.io/client-go", "k8s.io/kubectl", "k8s.io/kubernetes/pkg/registry",
			"k8s.io/kubernetes/pkg/printers", "k8s.io/kubernetes/pkg/scheduler", "k8s.io/kubernetes/pkg/controlplane"},
			but: []string{"k8s.io/apiserver/pkg/util/feature", "k8s.io/apiserver/pkg/features", "k8s.io/client-go/features",
				"k8s.io/client-go/util/cert", "k8s.io/client-go/util/keyutil", // reading certificates
				"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap", "k8s.io/apiserver/pkg/util/shufflesharding",
				"k8s.io/apiserver/pkg/authentication/user", "k8s.io/apiserver/pkg/authentication/serviceaccount", // names
				"k8s.io/apiserver/pkg/cel", "k8s.io/apiserver/pkg/apis/cel", "k8s.io/apiserver/pkg/warning", // rules of custom kinds
				"k8s.io/client-go/util/jsonpath", "k8s.io/client-go/third_party/forked/golang/template", // and their columns
			},
			why: "defaults and validation only: the rest of Kubernetes' server costs 40 MB"},
	},
	"wherry/orchestrator/state": {
		{not: ours, but: []string{"wherry/orchestrator/resource", "wherry/orchestrator/store"}, why: "objects stand on kinds and the store"},
	},
	"wherry/orchestrator/controller": {
		{siblings: true, but: []string{"wherry/orchestrator/controller/controllertest"}, why: "controllers meet in state only"},
		{not: ours, but: []string{"wherry/orchestrator/controller", "wherry/orchestrator/state", "wherry/orchestrator/resource", "wherry/orchestrator/store"},
			why: "controllers know state and nobody above it"},
		{deep: true, not: []string{"wherry/proto", "wherry/orchestrator/apiserver"}, why: "controllers know neither nodes' sessions nor HTTP"},
		{not: machinery, why: "how objects are encoded is not a controller's business"},
	},
	"wherry/orchestrator/token": {
		{not: ours, but: []string{"wherry/orchestrator/state", "wherry/orchestrator/resource"}, why: "tokens know state and nobody above it"},
		{not: machinery, why: "state encodes"},
	},
	"wherry/orchestrator/scheduler": {
		{not: ours, but: []string{"wherry/orchestrator/scheduler", "wherry/orchestrator/state", "wherry/orchestrator/resource", "wherry/orchestrator/store"},
			why: "the scheduler knows state and nobody above it"},
		{not: machinery, why: "how objects are encoded is not the scheduler's business"},
	},
	"wherry/orchestrator/scheduler/fit": {
		{deep: true, not: ours, why: "placing is pure: nodes and pods in, a node or reasons out"},
	},
	"wherry/orchestrator/downlink": {
		{deep: true, not: []string{"wherry/orchestrator/apiserver", "wherry/orchestrator/controller", "wherry/orchestrator/scheduler"},
			why: "the parts above state do not know each other"},
		{not: machinery, why: "state encodes"},
	},
	"wherry/orchestrator/apiserver": {
		{deep: true, not: []string{"wherry/orchestrator/downlink", "wherry/orchestrator/controller", "wherry/orchestrator/scheduler", "wherry/orchestrator/pki"},
			why: "the parts above state do not know each other"},
	},
	"wherry/nodeagent": {
		{deep: true, not: ours, but: []string{"wherry/proto", "wherry/wasm"}, why: "the nodes and the control plane share the protocol and nothing else"},
		{deep: true, not: slices.Concat(servers, machinery), but: types,
			why: "agents know Kubernetes' types and not their machinery"},
	},
	"wherry/nodeagent/runtime": {
		{deep: true, not: slices.Concat(kubernetes, []string{"wherry/proto"}), why: "drivers take data only, so that a sandbox may live in another process"},
	},
	"wherry/nodeagent/journal": {
		{deep: true, not: kubernetes, why: "the journal keeps messages as they crossed"},
	},
	"wherry/nodeagent/image": {
		{deep: true, not: kubernetes, why: "images are registries' business"},
	},
	"wherry/nodeagent/podnet": {
		{not: kubernetes, why: "the network reads routes, which are data"},
	},
	"wherry/nodeagent/proxy": {
		{not: kubernetes, why: "the proxy reads routes, which are data"},
	},
	"wherry/nodeagent/dns": {
		{not: kubernetes, why: "DNS reads routes, which are data"},
	},
	"wherry/nodeagent/services": {
		{deep: true, not: ours, why: "routes are computed of objects alone"},
	},
	"wherry/nodeagent/volume": {
		{deep: true, not: ours, but: []string{"wherry/nodeagent/pod/downward"}, why: "volumes are made of what they are given"},
	},
	"wherry/nodeagent/pod": {
		{not: []string{"wherry/nodeagent", "wherry/proto", "wherry/wasm"},
			but: []string{"wherry/nodeagent/pod", "wherry/nodeagent/runtime"},
			why: "a pod says what it needs from others in needs.go"},
		{deep: true, not: []string{"wherry/nodeagent/runtime/wasm", "wherry/nodeagent/runtime/fake"}, why: "a pod knows the words of runtime, never a driver"},
	},
	"wherry/nodeagent/stream": {
		{deep: true, not: []string{"wherry/nodeagent/runtime/wasm", "wherry/nodeagent/runtime/fake"}, why: "streams know the words of runtime, never a driver"},
	},
	"wherry/nodeagent/usage": {
		{deep: true, not: []string{"wherry/nodeagent/runtime/wasm", "wherry/nodeagent/runtime/fake", "wherry/proto"}, why: "measuring knows the words of runtime, never a driver, and not who asks"},
	},
	"wherry/nodeagent/uplink": {
		{deep: true, not: ours, but: []string{"wherry/proto"}, why: "the uplink hands over and knows no part of the agent"},
	},
	"wherry/cmd/wherryd": {
		{deep: true, not: []string{"k8s.io/kubectl", "k8s.io/cli-runtime", "k8s.io/client-go"}, but: []string{"k8s.io/client-go/features", "k8s.io/client-go/util/cert", "k8s.io/client-go/util/keyutil",
			"k8s.io/client-go/util/jsonpath", "k8s.io/client-go/third_party/forked/golang/template"},
			why: "the long-running program is light: no kubectl, no client; validation asks one list of feature gates and reads certificates; columns of custom kinds are paths"},
	},
	"wherry/cmd/wherry-agent": {
		{deep: true, not: slices.Concat([]string{"wherry/orchestrator"}, servers), why: "gateways have 128 MB: no control plane, no kubectl"},
	},
	"wherry/cmd/wherry": {
		{deep: true, not: []string{"wherry/nodeagent", "wherry/orchestrator/store", "wherry/orchestrator/state", "wherry/orchestrator/resource"},
			why: "what runs for long is wherryd"},
	},
}

// forTests is no part of the product: it asks a whole cluster with the official client.
const forTests = "wherry/cmd/wherryd/clustertest"

// TestWalls checks what the product imports on this platform; tests may know more.
func TestWalls(t *testing.T) {
	imports := listImports(t)
	for _, at := range slices.Sorted(maps.Keys(walls)) {
		guarded := slices.DeleteFunc(slices.Sorted(maps.Keys(imports)), func(p string) bool { return !within(p, at) || p == forTests })
		if len(guarded) == 0 {
			t.Errorf("there is a wall around %s, but no such package", at)
		}
		for _, p := range guarded {
			for _, w := range walls[at] {
				w.check(t, imports, at, p)
			}
		}
	}
}

// check reports the ways over the wall around at that package p goes.
func (w wall) check(t *testing.T, imports map[string][]string, at, p string) {
	if withinAny(p, w.but) {
		return
	}
	from := map[string]string{p: ""}
	for queue := []string{p}; len(queue) > 0; queue = queue[1:] {
		for _, next := range imports[queue[0]] {
			if _, seen := from[next]; seen || withinAny(next, w.but) {
				continue
			}
			from[next] = queue[0]
			inside := at != "wherry" && within(next, at)
			switch sibling := inside && next != at && !within(next, p) && !within(p, next); {
			case withinAny(next, w.not) && !inside, w.siblings && sibling:
				t.Errorf("%s: %s", chain(from, next), w.why)
			case w.deep:
				queue = append(queue, next)
			}
		}
	}
}

// chain is how a package is reached, from its end.
func chain(from map[string]string, p string) string {
	way := p
	for p = from[p]; p != ""; p = from[p] {
		way = p + " imports " + way
	}
	return way
}

func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func withinAny(p string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(p, root) })
}

// look opens what the result depends on. Go remembers a test's result until something changes that it has
// opened itself; what `go list` opens is not noticed.
func look(t *testing.T) {
	for _, root := range []string{"go.mod", "cmd", "nodeagent", "orchestrator", "proto", "samples", "wasm"} {
		err := filepath.WalkDir(root, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listImports returns, by package, what it imports: of ours and of all that we depend on. Generators are left out.
func listImports(t *testing.T) map[string][]string {
	look(t)
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("listing packages: %w", err))
	}
	imports := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if p := f[0]; !strings.HasPrefix(p, "wherry") || !strings.HasSuffix(p, "/gen") {
			imports[p] = f[1:]
		}
	}
	return imports
}
