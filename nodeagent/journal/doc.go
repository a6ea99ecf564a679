// Package journal keeps what an agent must not forget: what it was told to run, and how far it has come. It lets an
// agent start its pods again after a reboot without the control plane, and lets the link resume by sending differences
// only.
//
// One bbolt file, 0600. Values are messages of nodelink, as they crossed the link:
//
//	meta/
//	    format      -> "1"
//	    welcome     -> Welcome: the cluster, its networks, this node's block of addresses
//	objects/
//	    <kind>/                       decimal, as in nodelink.Kind
//	        <namespace>/<name> -> Change: uid, revision, object
//	statuses/
//	    <pod uid>   -> PodStatus: the newest one, with its attempts and restarts
//
// Objects and the welcome are durable when the call returns. Statuses change more often: they ride in the next
// commit, and Run makes one a second after a change, so that a flash card lives long. What a lost second costs is a
// restart that is not counted.
//
// Everything in the file can be told again by the control plane and observed from the drivers. So a file that is
// damaged is put aside, and a new one is begun.
package journal
