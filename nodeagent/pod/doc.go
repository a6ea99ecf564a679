// Package pod runs the pods of a node: what a kubelet does, one worker per pod.
//
//	            newest wish wins                 one at a time, cancelled when moot
//	Workers.Update ──► worker ──► Step(now, want, have) ──► Action ──► act ──► have
//	Runtime.Changes ─► events ──►          pure                  │
//	probes ──────────►        └─► Status(now, want, have) ──► Reports
//
// Step (step.go) is the whole policy: it reads the pod as it is wanted and what is known of it here, and names the
// one thing to do next and why. Have (have.go) is what is known; its methods are named after what happened. Status
// (status.go) is what the control plane sees of it. All three are pure. The worker (worker.go) carries actions out
// (act.go) and turns a corev1.Container into a runtime.Spec (spec.go, env.go). Fields of a pod that are not supported are
// listed in unsupported.go and refused, never ignored.
//
// Stories of Step, to be read without Go, are in testdata/*.txtar.
package pod
