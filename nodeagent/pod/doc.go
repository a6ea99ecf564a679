// Package pod runs the pods of a node.
package pod
